"""What a pose network says of two photos: alone, and together with photos of either side of the gap between them.

A network that sees several photos at once places them all in one scale. So photos whose poses a base model knows say
how long the baseline between the two is, in the unit of that model, and hold the answer against what is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from interpose_sfm.colmap.constants import MIN_VERIFIED_MATCHES
from interpose_sfm.matching import given_pose
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.estimates import Estimates, baseline
from interpose_sfm.pairs.judge import judge_proposed
from interpose_sfm.pairs.own_matches import OwnMatches
from interpose_sfm.pose.protocol import PoseEstimator
from interpose_sfm.products import (
    ImagePair,
    JudgedProposal,
    Link,
    Pose,
    PoseHypothesis,
    PoseProposal,
    PoseStatus,
    View,
    ViewGraph,
    ViewPoses,
)

MAX_DISTANCE_TO_GUESS_DEG = 10.0  # of a network's pose from the link's, in rotation and in direction


class NetworkPoses:
    """Asks a pose network.

    Args:
        network: The network.
        views: Photo name -> view; called when a photo is needed.
        estimates: Keeps what it says.
        own: The photos' own matches, which judge what it proposes.
        limits: When a pose is believed, so that nothing more is asked.
    """

    def __init__(
        self,
        network: PoseEstimator,
        views: Callable[[str], View],
        estimates: Estimates,
        own: OwnMatches,
        limits: ConsensusOptions,
    ) -> None:
        self._network, self._views, self._estimates = network, views, estimates
        self._own, self._limits = own, limits

    def propose(self, pair: ImagePair, beside: Sequence[str] = ()) -> tuple[JudgedProposal, ...]:
        """The poses that the network has for two photos, held against their own matches.

        It is shown the two photos alone; where these matches do not believe what it says, also together with photos
        beside them. Focal lengths that nobody knows are those of the network. Where too few matches could judge a pose,
        it is not asked.

        Args:
            pair: The photos.
            beside: Photos of either side, see `photos_beside`.
        """
        a, b = self._views(pair.a), self._views(pair.b)
        if len(self._own.seen(a, b)[1].indices) < MIN_VERIFIED_MATCHES:
            return ()
        judged = self._judged(pair, a, b, self._asked(pair, ()), self._network.name)
        beside = self._as_many_as_it_sees(beside)
        if not beside or any(judge_proposed(found, self._limits)[0].tells_pose for found in judged):
            return judged
        source = f"{self._network.name} with {len(beside)} photos beside"
        return judged + self._judged(pair, a, b, self._asked(pair, beside), source)

    def with_guesses(self, link: Link, beside: Sequence[str] = ()) -> Link:
        """The link with what the network sees together with it, in units of the baseline: depths, and other photos.

        Where the network's own pose is another one than the link's, the rest says nothing of the link's baseline.

        Args:
            link: Of two photos.
            beside: Photos of either side, see `photos_beside`.
        """
        beside = self._as_many_as_it_sees(beside)
        found = self._asked(link.pair, beside)
        said, is_ok = found.estimate, found.status is PoseStatus.OK
        if said is None or not is_ok or found.b_from_a is None:
            return link
        if not given_pose.is_within(found.b_from_a, link.b_from_a, MAX_DISTANCE_TO_GUESS_DEG):
            return link
        to_baselines = 1.0 / baseline(said)
        return replace(
            link,
            guessed_a=said.seen_a.scaled(to_baselines),
            guessed_b=said.seen_b.scaled(to_baselines),
            guessed_poses=_poses_from_a((link.pair.a, *beside, link.pair.b), said, to_baselines) if beside else {},
        )

    def _as_many_as_it_sees(self, beside: Sequence[str]) -> tuple[str, ...]:
        return tuple(beside[: max(self._network.traits.group_size - 2, 0)])

    def _asked(self, pair: ImagePair, beside: Sequence[str]) -> PoseHypothesis:
        a, b = self._views(pair.a), self._views(pair.b)
        frames = [self._views(name) for name in beside]
        return self._estimates.of(self._network, pair, "", a, frames, b, [tuple(range(len(frames)))])[0]

    def _judged(
        self, pair: ImagePair, a: View, b: View, found: PoseHypothesis, source: str
    ) -> tuple[JudgedProposal, ...]:
        if found.b_from_a is None or found.estimate is None:
            return ()
        is_guess, cameras = not (a.intrinsics.is_trusted and b.intrinsics.is_trusted), found.estimate.intrinsics
        if is_guess and cameras:
            a, b = (replace(v, intrinsics=camera) for v, camera in ((a, cameras[0]), (b, cameras[-1])))
        focal_px = a.intrinsics.focal_px if is_guess else None
        proposal = PoseProposal(pair, found.b_from_a, found.spread_deg, source, focal_px)
        return self._own.judged(pair, [proposal], a, b)


def photos_beside(graph: ViewGraph, pair: ImagePair) -> tuple[str, ...]:
    """Photos of the base models that have most in common with either end of a pair, by turns from both sides."""
    sides = [[name for name in neighbours(graph, end) if name not in (pair.a, pair.b)] for end in (pair.a, pair.b)]
    longest = max(map(len, sides))
    by_turns = [side[rank] for rank in range(longest) for side in sides if rank < len(side)]
    return tuple(dict.fromkeys(by_turns))


def near(graph: ViewGraph, end: str) -> list[ImagePair]:
    """Verified pairs of a photo with others of its base model, those with most in common first."""
    found = [
        pair
        for pair in graph.verified
        if end in (pair.a, pair.b) and any(pair.a in model and pair.b in model for model in graph.models)
    ]
    return sorted(found, key=lambda pair: (-graph.verified[pair], pair))


def neighbours(graph: ViewGraph, end: str) -> list[str]:
    """The other photos of these pairs, in their order."""
    return [pair.b if pair.a == end else pair.a for pair in near(graph, end)]


def _poses_from_a(names: Sequence[str], said: ViewPoses, to_baselines: float) -> dict[str, Pose]:
    """Photo -> its pose from A, in baselines."""
    placed = zip(names, said.cam_from_first, strict=True)
    return {name: Pose(pose.rotation, to_baselines * pose.translation) for name, pose in placed if pose is not None}
