"""What would connect more photos, from what the weak pairs of a run came to."""

from __future__ import annotations

from collections.abc import Sequence

from interpose_sfm.pairs.records import PairRecord
from interpose_sfm.products import ImagePair, LinkVerdict, connected_components
from interpose_sfm.report import AdviceReport

MAX_ADVICE = 5  # more is not read

_THIRD_PHOTO = "take a photo between {a} and {b} that shows what both show: the pose may be right, and lacks a witness"
_STEP_ASIDE = "take {a} or {b} again from a step to the side: both were taken from one place"
_LINKED = "take a photo between {a} and {b}: they are linked, but share too few points to be put into one model"
_APART = "take photos between {a} and {b}, or film the way from one to the other and hand it in as a clip"
_LOOKS_ALIKE = "take photos between {a} and {b}, one next to the other: what matches may be two things that look alike"

_TEXTS = {
    LinkVerdict.ACCEPTED: _LINKED,
    LinkVerdict.POSSIBLE: _THIRD_PHOTO,
    LinkVerdict.ROTATION_ONLY: _STEP_ASIDE,
    LinkVerdict.LOOK_ALIKE: _LOOKS_ALIKE,
    LinkVerdict.CONTRADICTED: _LOOKS_ALIKE,
    LinkVerdict.DROPPED: _LOOKS_ALIKE,
}


def advise(records: Sequence[PairRecord], models: Sequence[frozenset[str]]) -> tuple[AdviceReport, ...]:
    """Pairs whose link would bring the most photos to others, and what to do about them.

    Of each group of photos the pair with the strongest evidence is named, towards any larger group.

    Args:
        records: The last record of every weak pair.
        models: Photos of each final model.
    """
    names = {name for record in records for name in (record.pair.a, record.pair.b)}.union(*models)
    held = [ImagePair(min(model), name) for model in models for name in model - {min(model)}]
    group = {name: group for group in connected_components(names, held) for name in group}
    best: dict[frozenset[str], PairRecord] = {}
    for record in sorted(records, key=_promise, reverse=True):
        smaller, larger = sorted((group[record.pair.a], group[record.pair.b]), key=lambda g: (len(g), min(g)))
        if smaller is not larger:
            best.setdefault(smaller, record)
    found = [
        AdviceReport(
            a=record.pair.a,
            b=record.pair.b,
            num_gained=len(smaller),
            text=_TEXTS.get(record.verdict, _APART).format(a=record.pair.a, b=record.pair.b),
        )
        for smaller, record in best.items()
    ]
    return tuple(sorted(found, key=lambda one: -one.num_gained)[:MAX_ADVICE])


def _promise(record: PairRecord) -> tuple[bool, float]:
    """How near a pair is to a link."""
    strength = 0.0 if record.evidence is None else record.evidence.strength
    return record.verdict in (LinkVerdict.ACCEPTED, LinkVerdict.POSSIBLE), strength
