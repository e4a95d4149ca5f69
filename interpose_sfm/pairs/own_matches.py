"""What the learned matches of two photos say, of themselves and of poses that come from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from interpose_sfm.matching.cache import LearnedCache
from interpose_sfm.pairs.pair_link import pair_link
from interpose_sfm.pairs.proposals import Views, judge_family, judge_proposals
from interpose_sfm.products import ImagePair, JudgedProposal, Matches, PairMatch, Pose, PoseProposal, View


class OwnMatches:
    """Asks the photos' own matches.

    Args:
        cache: Learned features and matches.
        seed: Seed of everything that is random.
    """

    def __init__(self, cache: LearnedCache, seed: int) -> None:
        self._cache, self._seed = cache, seed
        self._last: tuple[object, PairMatch] | None = None

    @property
    def _least(self) -> float:
        return self._cache.options.min_match_score

    def seen(self, a: View, b: View) -> tuple[Views, Matches]:
        """Features and camera of each photo, and their matches of any score."""
        self._cache.prepare_features((a, b))
        features_a, features_b, matches = self._cache.features_and_matches(a, b)
        features_a, features_b = replace(features_a, mask=a.mask), replace(features_b, mask=b.mask)
        return (features_a, a.intrinsics, features_b, b.intrinsics), matches

    def matched(self, pair: ImagePair, a: View, b: View) -> PairMatch:
        """What they find by themselves under the cameras of the views; that of the last pair is not sought again."""
        asked = pair, a.key, a.intrinsics, b.key, b.intrinsics
        last = self._last
        if last is None or last[0] != asked:
            self._last = last = asked, pair_link(pair, *self.seen(a, b), self._seed, self._least)
        return last[1]

    def judged(
        self, pair: ImagePair, proposals: Sequence[PoseProposal], a: View, b: View
    ) -> tuple[JudgedProposal, ...]:
        """What something else proposes, held against them."""
        if not proposals:
            return ()
        views, matches = self.seen(a, b)
        return judge_proposals(proposals, views, matches, self.matched(pair, a, b), self._seed, self._least)

    def held(self, pair: ImagePair, poses: Sequence[Pose], a: View, b: View) -> tuple[JudgedProposal, ...]:
        """Those of some predicted poses that they support most, held against them."""
        views, matches = self.seen(a, b)
        return judge_family(pair, poses, views, matches, self.matched(pair, a, b), self._seed, self._least)
