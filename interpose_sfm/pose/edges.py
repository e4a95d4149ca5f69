"""Verified matches between the views of one clip: what small reconstructions stand on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from interpose_sfm.matching import verification
from interpose_sfm.matching.nearest import clear_edge
from interpose_sfm.pose.protocol import EstimatorContext
from interpose_sfm.products import Features, Intrinsics, Matches, TwoView, View

MIN_STEP_STRENGTH = 0.1  # weaker steps lead astray: wrong links of look-alike facades reach 0.2, right ones start there
MAX_STEP = 2  # frames are matched with their neighbours and the next but one: further ones add cost, not tracks

Edges = Mapping[tuple[int, int], tuple[Matches, TwoView]]


class VerifiedEdges:
    """Matches views with their neighbours and verifies them, each pair of images once.

    Steps of a clip are matched by their descriptors where these are clear, and learned matches are asked for where they
    are not. Two views alone are two photos, whose matches are evidence: those are always learned.
    """

    def __init__(self, context: EstimatorContext) -> None:
        self._context = context
        self._verified: dict[object, tuple[Matches, TwoView]] = {}

    def between(self, views: Sequence[View], *, with_ends: bool = True) -> Edges:
        """(i, j) with i < j -> matches and two-view geometry.

        Args:
            views: In the order of the way.
            with_ends: Whether the first view is matched with the last one as well.
        """
        last = len(views) - 1
        wanted = {(i, j) for i in range(last) for j in range(i + 1, min(i + MAX_STEP, last) + 1)}
        return self._of(views, wanted | {(0, last)} if with_ends else wanted - {(0, last)})

    def through(self, views: Sequence[View]) -> Edges:
        """As `between` without the ends, but no more is matched once nothing can lead from the first view to the last.

        That is where no usable edge leads over the gap between two neighbours.
        """
        last = len(views) - 1
        steps = self._of(views, {(i, i + 1) for i in range(last)})
        gaps = [i for i, _ in steps.keys() - usable(steps).keys()]
        for i in sorted(gaps):
            over = {(k, k + 2) for k in (i - 1, i) if k >= 0 and k + 2 <= last} - {(0, last)}
            if not usable(self._of(views, over)):
                return steps
        return self.between(views, with_ends=False)

    def _of(self, views: Sequence[View], wanted: Collection[tuple[int, int]]) -> Edges:
        keys = {(i, j): (views[i].key, views[j].key, views[i].intrinsics, views[j].intrinsics) for i, j in wanted}
        missing = sorted(step for step in wanted if keys[step] not in self._verified)
        if len(views) > 2:
            self._context.prepare_features([views[i] for i in sorted({i for step in missing for i in step})])
            for i, j in missing:
                clear = clear_edge(*self._sides(views[i], views[j]), self._context.seed)
                if clear is not None:
                    self._verified[keys[i, j]] = clear
            missing = [step for step in missing if keys[step] not in self._verified]
        self._context.prepare([(views[i], views[j]) for i, j in missing])
        for i, j in missing:
            self._verified[keys[i, j]] = self._learned(views[i], views[j])
        return {step: self._verified[keys[step]] for step in sorted(wanted)}

    def _learned(self, a: View, b: View) -> tuple[Matches, TwoView]:
        matches, least = self._context.matches(a, b), self._context.min_match_score
        return matches, verification.verify(*self._sides(a, b), matches, self._context.seed, least)

    def _sides(self, a: View, b: View) -> tuple[Features, Intrinsics, Features, Intrinsics]:
        return self._context.features(a), a.intrinsics, self._context.features(b), b.intrinsics


def usable(edges: Edges) -> Edges:
    """The edges with a pose that are strong enough not to lead astray."""
    return {
        key: edge
        for key, edge in edges.items()
        if edge[1].b_from_a is not None and edge[1].evidence.strength >= MIN_STEP_STRENGTH
    }
