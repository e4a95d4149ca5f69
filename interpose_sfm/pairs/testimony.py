"""What third photos say of a link that its own evidence nearly carries.

Two photos a and b and a third one c: where the way from b to c is known, it and the link predict how c lies to a. The
matches of a and c, which played no part in the link, are heard on that. Near misses that confirm one another add up,
and contradicted ones stay out. Matches of different pairs are independent but for one thing: photos of look-alike
structure may err alike. So this is for near misses only, and several photos must speak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.options import ConsensusOptions
from interpose_sfm.pairs.judge import net_agreement
from interpose_sfm.products import FloatArray, ImagePair, Link, Pose

MIN_WITNESSES = 2  # third photos
FOR_PER_AGAINST = 3.0
MIN_SURPRISE = 3.0  # of a witness: matches that luck explains say nothing
MAX_DIRECTION_DEG = 20.0  # off the arc of predicted directions; a direction is known less well than a rotation
NUM_ARC_STEPS = 31


@dataclass(frozen=True)
class Testimony:
    """What the matches of a pair and of all third photos say of the pair's pose.

    Attributes:
        agreement: Confidence of all matches that speak for it / of all matches that speak.
        num_for, num_against: Third photos.
    """

    agreement: float
    num_for: int
    num_against: int

    def confirms(self, link: Link, limits: ConsensusOptions) -> bool:
        """Whether enough third photos speak for a link, and hardly any against.

        They can mend what its own matches lack. So of a link that agrees as much as any needs, and lacks something
        else, they must leave as much: where hearing them lowers it, they do not see what it sees.
        """
        is_agreed = net_agreement(link.evidence, link.doubts.silence) >= limits.min_agreement
        return (
            self.num_for >= MIN_WITNESSES
            and self.num_for >= FOR_PER_AGAINST * self.num_against
            and self.agreement >= (limits.min_agreement if is_agreed else limits.min_agreement_confirmed)
        )

    def __str__(self) -> str:
        return (
            f"{self.num_for} other photos confirm it, {self.num_against} contradict it, and {self.agreement:.0%} of "
            "all their matches' confidence agrees"
        )


def confirmed(
    possible: Sequence[Link],
    heard: Sequence[Link],
    believed: Sequence[Link],
    models: Sequence[Mapping[str, Pose]],
    limits: ConsensusOptions,
) -> dict[ImagePair, str]:
    """The near misses that third photos confirm, and why. What is confirmed is believed, and lets others be heard.

    Args:
        possible: Near misses.
        heard: Links by the photos' own matches, believed or not: the witnesses.
        believed: Accepted links.
        models: cam_from_world of every photo of each base model, which are believed, too.
        limits: How far rotations may differ, and how much must agree.
    """
    reasons: dict[ImagePair, str] = {}
    # The neighbours of a photo lack what it lacks: no other photo mends what should be seen and is not.
    left, trusted = [link for link in possible if link.doubts.silence <= limits.max_silence], list(believed)
    while True:
        court = _Court(heard, trusted, models, limits)
        said = {link.pair: court.testimony(link) for link in left}
        new = [link for link in left if said[link.pair].confirms(link, limits)]
        if not new:
            return reasons
        reasons.update({link.pair: str(said[link.pair]) for link in new})
        left = [link for link in left if link.pair not in reasons]
        trusted += new


class _Court:
    """Who may speak, and which ways between photos are known."""

    def __init__(
        self,
        heard: Sequence[Link],
        believed: Sequence[Link],
        models: Sequence[Mapping[str, Pose]],
        limits: ConsensusOptions,
    ) -> None:
        self._heard, self._believed = _by_ends(heard), _by_ends(believed)
        self._models, self._limits = models, limits
        self._names = sorted({name for ends in (*self._heard, *self._believed) for name in ends})

    def testimony(self, link: Link) -> Testimony:
        """What the matches of the pair and of all third photos say of a link. Each photo speaks once."""
        weight, total = link.evidence.weight, _all_weight(link)
        num_for = num_against = 0
        for name in self._names:
            spoken = self._witness(link, name)
            if spoken is None:
                continue
            witness, agrees = spoken
            total += _all_weight(witness)
            weight += witness.evidence.weight if agrees else 0.0
            num_for, num_against = num_for + agrees, num_against + (not agrees)
        return Testimony(weight / max(total, 1e-9), num_for, num_against)

    def _witness(self, link: Link, c: str) -> tuple[Link, bool] | None:
        """The link whose matches tell what a third photo says, and whether it speaks for the pair's pose.

        Where the ways from both photos to the third are known, the one whose matches agree less is the witness.
        """
        a, b = link.pair.a, link.pair.b
        if c in (a, b):
            return None
        witnesses: list[tuple[Link, bool]] = []
        for x, y, y_from_x in ((a, b, link.b_from_a), (b, a, link.b_from_a.inverse())):
            c_from_y, witness, c_from_x = self._known(y, c), self._heard.get((x, c)), self._in_model(x, c)
            if c_from_x is not None:  # then it is the link from y to c that the model tests
                witness = None if self._in_model(y, c) is not None else self._believed.get((y, c))
            elif witness is not None:
                c_from_x = _pose_between(witness, x)
            if c_from_y is None or c_from_x is None or witness is None or witness.evidence.surprise < MIN_SURPRISE:
                continue
            witnesses.append((witness, self._agrees(c_from_y, y_from_x, c_from_x)))
        return min(witnesses, key=lambda item: item[0].evidence.agreement, default=None)

    def _known(self, x: str, y: str) -> Pose | None:
        """y_from_x where a base model or a believed link tells it."""
        in_model = self._in_model(x, y)
        if in_model is not None:
            return in_model
        link = self._believed.get((x, y))
        return None if link is None else _pose_between(link, x)

    def _in_model(self, x: str, y: str) -> Pose | None:
        model = next((poses for poses in self._models if x in poses and y in poses), None)
        return None if model is None else geometry.with_unit_translation(geometry.relative_pose(model[y], model[x]))

    def _agrees(self, c_from_y: Pose, y_from_x: Pose, c_from_x: Pose) -> bool:
        """Whether two poses predict a third: its rotation, and of its direction the arc that any lengths give."""
        predicted = c_from_y.rotation @ y_from_x.rotation
        if float(geometry.rotation_angle_deg(predicted.T @ c_from_x.rotation)) > self._limits.max_cycle_deg:
            return False
        towards = c_from_y.rotation @ y_from_x.translation
        return _off_arc_deg(towards, c_from_y.translation, c_from_x.translation) <= MAX_DIRECTION_DEG


def _by_ends(links: Sequence[Link]) -> dict[tuple[str, str], Link]:
    """(x, y) -> link between them, in both orders."""
    forth = {(link.pair.a, link.pair.b): link for link in links}
    return {**{(b, a): link for (a, b), link in forth.items()}, **forth}


def _pose_between(link: Link, x: str) -> Pose:
    """The link's pose as other_from_x."""
    return link.b_from_a if link.pair.a == x else link.b_from_a.inverse()


def _all_weight(link: Link) -> float:
    """Confidence of all matches of a link."""
    return link.evidence.weight / max(link.evidence.agreement, 1e-9)


def _off_arc_deg(first: FloatArray, second: FloatArray, direction: FloatArray) -> float:
    """Angle between a direction and the nearest of those that two others span with positive lengths."""
    share = np.linspace(0.0, 1.0, NUM_ARC_STEPS)[:, None]
    arc = share * first + (1 - share) * second
    arc = arc[np.linalg.norm(arc, axis=1) > 1e-6]
    if len(arc) == 0 or not np.any(direction):
        return 0.0
    return float(np.min(geometry.direction_angle_deg(arc, np.broadcast_to(direction, arc.shape))))
