from __future__ import annotations

import json
import math
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from interpose_sfm import report
from interpose_sfm.options import ReconstructOptions, ViewGraphOptions
from interpose_sfm.products import (
    ChoiceReason,
    ImagePair,
    LinkVerdict,
    Photo,
    PhotoSet,
    SkippedFile,
    SkipReason,
    WeakReason,
)
from interpose_sfm.report.run import outcome
from interpose_sfm.storage.atomic import atomic_write_json


def photo(name: str) -> Photo:
    return Photo(name, Path("images") / name, 640, 480, None, "", "", "0" * 64)


PHOTOS = PhotoSet(
    Path("images"),
    tuple(photo(name) for name in ("b.jpg", "c.jpg", "d.jpg", "é.jpg")),
    (SkippedFile("a.txt", SkipReason.NOT_AN_IMAGE, "no picture inside"), SkippedFile("c2.jpg", SkipReason.EMPTY, "")),
)


def test_a_photo_tells_its_file_and_how_it_was_turned() -> None:
    turned = replace(photo("a.png"), source="a.webp", orientation=6)
    (row,) = report.photo_reports(PhotoSet(Path("images"), (turned,), ()), [], [], [])
    assert (row.name, row.source, row.orientation) == ("a.png", "a.webp", 6)


@pytest.mark.parametrize(
    ("value", "limit", "spec", "told"),
    [
        (0.6, 0.85, ".0%", ("60%", "85%")),
        (0.8493, 0.85, ".0%", ("84.9%", "85.0%")),
        (0.849996, 0.85, ".0%", ("84.9996%", "85.0000%")),
        (10.04, 10.0, ".1f", ("10.04", "10.00")),
        (0.85, 0.85, ".0%", ("85%", "85%")),
        (math.nan, 0.8, ".2f", ("nan", "0.80")),
        (math.inf, 0.8, ".2f", ("inf", "0.80")),
    ],
)
def test_what_misses_a_limit_never_looks_like_it(value: float, limit: float, spec: str, told: tuple[str, str]) -> None:
    assert report.told_apart(value, limit, spec) == told


def rows(
    before: list[set[str]], after: list[set[str]], verdicts: list[tuple[ImagePair, LinkVerdict]] | None = None
) -> dict[str, report.PhotoReport]:
    found = report.photo_reports(PHOTOS, [frozenset(n) for n in before], [frozenset(n) for n in after], verdicts or [])
    assert [row.name for row in found] == ["a.txt", "b.jpg", "c.jpg", "c2.jpg", "d.jpg", "é.jpg"]
    return {row.name: row for row in found}


def pair_report(verdict: LinkVerdict, **changes: Any) -> report.PairReport:
    values: dict[str, Any] = {
        "a": "b.jpg",
        "b": "é.jpg",
        "weak_because": (WeakReason.NO_VERIFIED_MATCH, WeakReason.UNREGISTERED),
        "tried": ("learned matching", "morph-0"),
        "verdict": verdict,
        "detail": "why",
        "evidence": {"inlier_share": 0.5},
        "choice": ChoiceReason.INCONSISTENT,
        "score": 12.5,
        "score_kind": "D_med",
        "clip_scores": {"morph-0": {"d_med_deg": 12.5, "d_bias_deg": math.nan}},
        "spread_deg": math.nan,
        "rotation_deg": 30.0,
    }
    return report.PairReport(**{**values, **changes})


def run_report(*pairs: report.PairReport) -> report.RunReport:
    return report.RunReport(
        photos=tuple(rows([{"b.jpg"}], [{"b.jpg", "é.jpg"}]).values()),
        pairs=pairs,
        models=(report.ModelReport("sparse/0", ("b.jpg", "é.jpg"), 120, 0.7),),
        num_registered_before=1,
        num_registered_after=2,
        num_registered_before_any=1,
        num_registered_after_any=2,
        timings_s={"photos": 0.1},
        versions=report.versions(),
        options=report.option_values(ReconstructOptions()),
        seed=3,
        warnings=("look out",),
    )


# ---------------------------------------------------------------- photos


def test_left_out_files_say_why() -> None:
    found = rows([], [])["a.txt"]
    assert (found.is_used, found.was_registered, found.is_registered, found.model) == (False, False, False, None)
    assert found.reason == "not an image: no picture inside"


def test_registered_photos_name_their_largest_model() -> None:
    found = rows([{"b.jpg", "c.jpg"}], [{"b.jpg", "c.jpg", "d.jpg"}, {"d.jpg", "é.jpg"}])
    assert {name: row.model for name, row in found.items() if row.is_used} == {
        "b.jpg": 0,
        "c.jpg": 0,
        "d.jpg": 0,
        "é.jpg": 1,
    }
    assert all(row.is_registered and row.reason == "" for row in found.values() if row.is_used)
    assert [row.was_registered for row in found.values() if row.is_used] == [True, True, False, False]


def test_photos_of_any_base_model_were_registered() -> None:
    found = rows([{"b.jpg", "c.jpg"}, {"d.jpg"}], [])
    assert [row.was_registered for row in found.values() if row.is_used] == [True, True, True, False]
    assert not any(row.is_registered for row in found.values())


def test_unregistered_photos_count_the_reasons_of_their_own_pairs() -> None:
    verdicts = [
        (ImagePair("b.jpg", "é.jpg"), LinkVerdict.POSSIBLE),
        (ImagePair("é.jpg", "c.jpg"), LinkVerdict.POSSIBLE),
        (ImagePair("d.jpg", "é.jpg"), LinkVerdict.NO_GEOMETRY),
        (ImagePair("b.jpg", "d.jpg"), LinkVerdict.ACCEPTED),
    ]
    found = rows([], [{"b.jpg", "c.jpg"}], verdicts)
    assert found["é.jpg"].reason == f"no link: {LinkVerdict.POSSIBLE} (2), {LinkVerdict.NO_GEOMETRY} (1)"
    assert found["d.jpg"].reason.startswith("linked, but too few points")
    assert found["b.jpg"].reason == ""
    without_model = rows([], [], verdicts)
    assert "the links make no model" in without_model["b.jpg"].reason


def test_a_photo_without_any_pair_says_so() -> None:
    assert rows([], [], [])["d.jpg"].reason == "no pair of this photo was tried"


# ---------------------------------------------------------------- the run


@pytest.mark.parametrize(
    ("before", "after", "links", "said"),
    [
        (0, 5, [], "0 of 5 photos in its largest model; the fallback makes it 5 by the same matches."),
        (3, 3, [], "3 of 5 photos in its largest model, and no link to the others was believed; 2 are in none."),
        (3, 3, ["clips"], "3 of 5 photos in its largest model, and links (1 by clips) gained none; 2 are in none."),
        (3, 5, ["clips"], "3 of 5 photos in its largest model; with links (1 by clips) it is 5."),
    ],
)
def test_the_outcome_says_what_made_the_models(before: int, after: int, links: list[str], said: str) -> None:
    assert outcome(5, (before, before), (after, after), 1, links, "") == f"COLMAP has {said}"


@pytest.mark.parametrize(
    ("verdict", "accepted", "refused"),
    [(v, v is LinkVerdict.ACCEPTED, v not in (LinkVerdict.ACCEPTED, LinkVerdict.NOT_TRIED)) for v in LinkVerdict],
)
def test_every_verdict_is_counted_once(verdict: LinkVerdict, accepted: bool, refused: bool) -> None:
    found = run_report(pair_report(verdict), pair_report(LinkVerdict.ACCEPTED), pair_report(LinkVerdict.NOT_TRIED))
    assert found.num_accepted == 1 + accepted
    assert found.num_refused == int(refused)


def test_the_report_is_plain_json(tmp_path: Path) -> None:
    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is no JSON")

    path = tmp_path / "report.json"
    atomic_write_json(path, run_report(pair_report(LinkVerdict.INCONSISTENT)))
    document = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert document["format"] == report.REPORT_FORMAT
    pair = document["pairs"][0]
    assert pair["verdict"] == "hypotheses disagree"
    assert pair["weak_because"] == ["no verified match", "unregistered"]
    assert pair["clip_scores"] == {"morph-0": {"d_med_deg": 12.5, "d_bias_deg": None}}
    assert pair["spread_deg"] is None
    assert pair["choice"] == ChoiceReason.INCONSISTENT.value
    assert pair["b"] == "é.jpg"
    assert document["photos"][0]["name"] == "a.txt"
    assert document["models"] == [
        {"path": "sparse/0", "photos": ["b.jpg", "é.jpg"], "num_points": 120, "mean_reprojection_error_px": 0.7}
    ]
    assert document["options"]["consensus"]["min_inliers"] == ReconstructOptions().consensus.min_inliers
    assert (document["seed"], document["warnings"]) == (3, ["look out"])


def test_options_are_all_there_as_plain_values() -> None:
    values = report.option_values(ReconstructOptions(seed=5, view_graph=ViewGraphOptions(max_bridged_pairs=2)))
    assert json.loads(json.dumps(values)) == values
    assert (values["seed"], values["view_graph"]["max_bridged_pairs"], values["database"]) == (5, 2, None)


def test_versions_are_those_installed() -> None:
    found = report.versions()
    assert found["numpy"] == metadata.version("numpy")
    assert found["pycolmap"] == metadata.version("pycolmap")
    assert all(isinstance(v, str) and v for v in found.values())
