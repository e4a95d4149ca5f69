"""What links and base models say of one another: cycles of rotations that do not close.

A majority proves nothing by itself: look-alike facades produce wrong links that agree with one another, so links fall
because others disagree. That others agree helps near misses alone (`pairs/testimony.py`), before cycles are looked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.records import PairRecord, accepted_links, near_miss, own_links
from interpose_sfm.pairs.testimony import confirmed
from interpose_sfm.products import (
    FloatArray,
    Link,
    LinkVerdict,
    Pose,
)

RIVAL_SHARE = 0.8  # a refused link this close in strength to a link it contradicts takes that one down with it


def settled(
    records: Sequence[PairRecord], models: Sequence[Mapping[str, Pose]], limits: ConsensusOptions
) -> list[PairRecord]:
    """The records after all links were heard: near misses that third photos confirm rise, contradicted links fall.

    Args:
        records: All weak pairs.
        models: cam_from_world of every photo of each base model.
        limits: When a link is believed.
    """
    possible = [link for record in records if (link := near_miss(record)) is not None]
    why = confirmed(possible, own_links(records), accepted_links(records), models, limits)
    risen = [r.after(replace(r.findings, confirmation=why[r.pair]), limits) if r.pair in why else r for r in records]
    accepted = [index for index, record in enumerate(risen) if record.verdict is LinkVerdict.ACCEPTED]
    for position, detail in contradictions(accepted_links(risen), models, limits).items():
        record = risen[accepted[position]]  # what third photos said of it no longer holds
        findings = replace(record.findings, contradiction=detail, confirmation="")
        risen[accepted[position]] = record.after(findings, limits)
    return risen


def contradictions(
    links: Sequence[Link], models: Sequence[Mapping[str, Pose]], limits: ConsensusOptions
) -> dict[int, str]:
    """The links that contradict the base models or one another.

    Links join units: base models, whose inner rotations are trusted, and single photos. Taken strongest first, a link
    either joins two units or closes a cycle, whose rotation must be the identity within ``limits.max_cycle_deg``.
    A link that breaks a cycle falls, and with it every link of the cycle that is hardly stronger, since nothing tells
    which of them errs. Repeated until no cycle is broken.

    Args:
        links: Those that are believed by themselves.
        models: cam_from_world of every photo of each base model.
        limits: How far a cycle may fail to close.

    Returns:
        Index of each link that falls -> the reason.
    """
    fallen: dict[int, str] = {}
    while True:
        broken = _first_broken_cycle({i: link for i, link in enumerate(links) if i not in fallen}, models, limits)
        if not broken:
            return fallen
        fallen.update(broken)


def _first_broken_cycle(
    links: Mapping[int, Link], models: Sequence[Mapping[str, Pose]], limits: ConsensusOptions
) -> dict[int, str]:
    """Indices of the links that fall with the first broken cycle, with the reason; empty if none is broken."""
    forest = _RotationForest(models)
    for index in sorted(links, key=lambda i: (-links[i].evidence.strength, links[i].pair)):
        link = links[index]
        closed = forest.add(index, link)
        if closed is None:
            continue
        error_deg, cycle = closed
        if error_deg <= limits.max_cycle_deg:
            continue
        detail = f"a cycle of links over {link.pair.a} and {link.pair.b} fails to close by {error_deg:.0f} degrees"
        rivals = [i for i in cycle if link.evidence.strength >= RIVAL_SHARE * links[i].evidence.strength]
        return dict.fromkeys([index, *rivals], detail)
    return {}


class _RotationForest:
    """Rotations of photos relative to the root of their tree, over base models and links."""

    def __init__(self, models: Sequence[Mapping[str, Pose]]) -> None:
        self._rotation: dict[str, FloatArray] = {}  # photo -> cam_from_root
        self._tree: dict[str, int] = {}  # photo -> tree
        self._edges: dict[str, list[tuple[str, int]]] = {}  # photo -> (neighbour, link index), -1 within a base model
        for model in models:
            anchor, *others = sorted(model) or [""]
            for name in others:  # a photo in two models joins them; where they disagree, the earlier one holds
                self._join(anchor, name, model[name].rotation @ model[anchor].rotation.T, -1)

    def add(self, index: int, link: Link) -> tuple[float, list[int]] | None:
        """Add a link; where it closes a cycle, the cycle's error in degrees and the other links in it."""
        a, b = link.pair.a, link.pair.b
        if self._join(a, b, link.b_from_a.rotation, index):
            return None
        error = self._rotation[b].T @ link.b_from_a.rotation @ self._rotation[a]
        return float(geometry.rotation_angle_deg(error)), self._links_between(a, b)

    def _join(self, a: str, b: str, b_from_a: FloatArray, index: int) -> bool:
        """Join the trees of two photos by turning b's; False, and nothing done, if they are in one already."""
        for name in (a, b):
            if name not in self._tree:
                self._tree[name] = len(self._tree)
                self._rotation[name] = np.eye(3)
        old, new = self._tree[b], self._tree[a]
        if old == new:
            return False
        turn = self._rotation[b].T @ b_from_a @ self._rotation[a]
        for name in [n for n, tree in self._tree.items() if tree == old]:
            self._rotation[name] = self._rotation[name] @ turn
            self._tree[name] = new
        self._connect(a, b, index)
        return True

    def _connect(self, a: str, b: str, index: int) -> None:
        self._edges.setdefault(a, []).append((b, index))
        self._edges.setdefault(b, []).append((a, index))

    def _links_between(self, start: str, goal: str) -> list[int]:
        """Link indices on the way between two photos of one tree."""
        came: dict[str, tuple[str, int]] = {start: ("", -1)}
        queue = [start]
        for name in queue:
            for neighbour, index in self._edges.get(name, []):
                if neighbour not in came:
                    came[neighbour] = name, index
                    queue.append(neighbour)
        indices = []
        name = goal
        while name in came and name != start:
            name, index = came[name]
            if index >= 0:
                indices.append(index)
        return indices
