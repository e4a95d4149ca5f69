"""Features, matches, and what they tell of a pair."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from interpose_sfm.products.arrays import FloatArray, IndexArray, MaskArray


@dataclass(frozen=True)
class Features:
    """Learned local features of one image.

    Attributes:
        keypoints_px: (n, 2) float64, COLMAP pixel convention, in the full image.
        descriptors: (n, d) float32, unit length.
        scores: (n,) float32.
        size_px: (width, height) of the image.
        mask: (height, width), False where the image can have no key points; None where it can have them everywhere.
    """

    keypoints_px: FloatArray
    descriptors: NDArray[np.float32]
    scores: NDArray[np.float32]
    size_px: tuple[int, int]
    mask: MaskArray | None = None

    def chosen(self, rows: NDArray[np.intp]) -> Features:
        """The features of some rows only."""
        return Features(self.keypoints_px[rows], self.descriptors[rows], self.scores[rows], self.size_px, self.mask)

    def strongest(self, number: int) -> Features:
        """The features with the highest scores, in their order."""
        return self.chosen(np.sort(np.argsort(-self.scores, kind="stable")[:number]))


@dataclass(frozen=True)
class Matches:
    """Putative matches between two feature sets.

    Attributes:
        indices: (n, 2) uint32 rows into the features of a and b.
        scores: (n,) float32 in [0, 1].
    """

    indices: IndexArray
    scores: NDArray[np.float32]

    def above(self, min_score: float) -> Matches:
        """Those with this score or a higher one, in their order."""
        rows = self.scores >= min_score
        return Matches(self.indices[rows], self.scores[rows])


@dataclass(frozen=True)
class Evidence:
    """How strongly putative matches say that two images show the same place.

    Look-alike structure passes every geometric test; what it lacks is the matcher's confidence and its completeness.
    A link is judged by agreement and surprise; the other cues order links and steps of a clip.

    Attributes:
        num_matches: Putative matches that are not too doubtful to propose a pose; the cues are over these unless they
            say otherwise.
        num_inliers: Matches that agree with one relative pose.
        inlier_share: num_inliers / num_matches.
        mean_score: Mean confidence of the matches, in [0, 1].
        density: Share of the key points inside the convex hull of the inliers that are inliers; the lower one of both
            images.
        triangulation_angle_deg: Median angle between the rays of the inliers.
        is_calibrated: False if the matches agree with an uncalibrated geometry only, although the cameras are known.
        agreement: Confidence of the matches that agree with the pose / confidence of all matches, however doubtful;
            sums over scores, in [0, 1].
        weight: Confidence of the matches that agree; `agreement` times that of all matches.
        surprise: -log10 of how often luck makes as many matches agree with some pose (the number of false alarms).
    """

    num_matches: int
    num_inliers: int
    inlier_share: float
    mean_score: float
    density: float
    triangulation_angle_deg: float
    is_calibrated: bool
    agreement: float
    weight: float
    surprise: float

    @property
    def strength(self) -> float:
        """One number to order evidence by: share times confidence times density; not the number of inliers."""
        return self.inlier_share * self.mean_score * self.density

    @staticmethod
    def of_weakest(steps: Iterable[Evidence]) -> Evidence | None:
        """Evidence of a way of several steps: the weakest one's, with the least agreement and surprise of any."""
        evidence = list(steps)
        if not evidence:
            return None
        return replace(
            min(evidence, key=lambda e: e.strength),
            agreement=min(e.agreement for e in evidence),
            weight=min(e.weight for e in evidence),
            surprise=min(e.surprise for e in evidence),
        )


@dataclass(frozen=True)
class Doubts:
    """What speaks against the pose of two photos although their matches agree with it.

    Attributes:
        far_rival: Confidence of the matches that agree with the best pose that is turned far from this one / `weight`.
        copy_rival: The same of a pose that is turned so far as another copy of a print turns it; asked of small patches
            only.
        silence_a, silence_b: Share of the key points of either photo that lie away from all agreeing matches although
            the pose puts them into the other photo.
        num_satellites: Agreeing matches outside of the one largest patch of them, the lower of both photos.
        whisper: Surprise of descriptor pairs among the silent points that agree with the pose.
        overlay: Share of the agreeing matches that lie in the border of both photos at one and the same shift of
            pixels.
    """

    far_rival: float = 0.0
    silence_a: float = 0.0
    silence_b: float = 0.0
    num_satellites: int = 0
    whisper: float = 0.0
    overlay: float = 0.0
    copy_rival: float = 0.0

    @property
    def silence(self) -> float:
        """Of both photos: their geometric mean, since only one of them shows more of the other where it is wider."""
        return float(np.sqrt(self.silence_a * self.silence_b))
