"""Verified matches between the views of one clip: what small reconstructions stand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from interpose_sfm.matching import verification
from interpose_sfm.pose.protocol import EstimatorContext
from interpose_sfm.products import Features, Matches, TwoView, View

MIN_STEP_STRENGTH = 0.1  # weaker steps lead astray: wrong links of look-alike facades reach 0.2, right ones start there
MAX_STEP = 2  # frames are matched with their neighbours and the next but one: further ones add cost, not tracks

Edges = Mapping[tuple[int, int], tuple[Matches, TwoView]]


class VerifiedEdges:
    """Matches views with their neighbours and verifies them, each pair of images once."""

    def __init__(self, context: EstimatorContext) -> None:
        self._context = context
        self._verified: dict[object, tuple[Matches, TwoView]] = {}

    def between(self, views: Sequence[View], features: Sequence[Features], *, with_ends: bool = True) -> Edges:
        """(i, j) with i < j -> matches and two-view geometry.

        Args:
            views: In the order of the way.
            features: Of each view.
            with_ends: Whether the first view is matched with the last one as well.
        """
        last = len(views) - 1
        wanted = {(i, j) for i in range(last) for j in range(i + 1, min(i + MAX_STEP, last) + 1)}
        if with_ends:
            wanted.add((0, last))
        edges = {}
        for i, j in sorted(wanted):
            a, b = views[i], views[j]
            key = a.key, b.key, a.intrinsics, b.intrinsics
            if key not in self._verified:
                matches = self._context.matches(a, b)
                two_view = verification.verify(
                    features[i],
                    a.intrinsics,
                    features[j],
                    b.intrinsics,
                    matches,
                    self._context.seed,
                    self._context.min_match_score,
                )
                self._verified[key] = matches, two_view
            edges[i, j] = self._verified[key]
        return edges


def usable(edges: Edges) -> Edges:
    """The edges with a pose that are strong enough not to lead astray."""
    return {
        key: edge
        for key, edge in edges.items()
        if edge[1].b_from_a is not None and edge[1].evidence.strength >= MIN_STEP_STRENGTH
    }
