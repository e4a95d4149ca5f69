"""The focal length of photos that say nothing of it, from the clips between them.

All frames of a clip share one camera, and it moves: a reconstruction of the frames alone settles its focal length, as
self-calibration does for any film. What a video model imagines is no photograph, so every clip is asked by itself, in
several ways, and what most of these agree on, and then most of the clips, is believed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap.calibration import MAX_FOCAL_FACTOR
from interpose_sfm.matching.ahead import a_few_at_once
from interpose_sfm.pose.edges import VerifiedEdges, usable
from interpose_sfm.pose.protocol import EstimatorContext
from interpose_sfm.pose.small_sfm import poses_from_first, reconstruct_views
from interpose_sfm.products import Features, Intrinsics, View

logger = logging.getLogger(__name__)

MIN_WHOLE_FRAMES = 4
"""Of which every other one leaves two. A clip of fewer is calibrated together with the two photos, whose camera they
have."""

MIN_HALF = 5
"""So many views are calibrated by themselves when a clip is calibrated once more by every other one of its views.

What a video model imagines is only nearly rigid: where a clip does not settle the focal length, the one half of its
frames puts it up to four times as high as the other.
"""

MIN_SHARE = 0.75  # of the frames: a model of fewer has broken apart, and its focal length is that of a part
MIN_TURN_DEG = 5.0  # focal length and depth cannot be told apart without a turn
MAX_DRIFT = 1.05
"""Between the halves of a clip. Measured on films of real photos they differ by at most 0.4 percent, on clips of video
models by 1.4, and by 7 or more where a film zooms to 1.4 times. Between two photos and the frames with which they are
calibrated: by 1 percent at most, and by 20 or more where the frames zoom (their halves by 6, the one half having photo
A and the other photo B)."""
MAX_RATIO = 1.15  # between two clips of one pair; measured on real photos they differ by 5 to 10 percent


@dataclass(frozen=True)
class _Shot:
    """Views that are calibrated together, in order.

    Attributes:
        views: Frames of a clip, or these with photo A before and photo B after them.
        has_photos: Whether they are there.
    """

    views: Sequence[View]
    has_photos: bool

    @property
    def cameras(self) -> list[int]:
        """Which of two cameras a view has where it is asked whether all have one."""
        number = len(self.views)
        if self.has_photos:
            return [1, *[2] * (number - 2), 1]
        return [1 + 2 * index // number for index in range(number)]


def focal_scale(clips: Sequence[Sequence[View]], photos: tuple[View, View], context: EstimatorContext) -> float | None:
    """By how much the focal lengths that the frames state have to be multiplied.

    Args:
        clips: Frames of every clip, in order. Those of one clip share a camera: what they state differs as their
            sizes do, and errs by one factor.
        photos: The two that the clips lead from and to, whose camera the frames have as well.
        context: Features, matches and seed.

    Returns:
        The median over the clips that agree with it within `MAX_RATIO`, if they are more than half of those that
        could be calibrated; None otherwise. Once more than half of all clips agree the others are not asked. A single
        clip is believed if its halves, or its frames and the photos, agree within `MAX_DRIFT`.
    """
    shots = [_shot(frames, photos) for frames in clips]
    scales: dict[int, float] = {}
    verified = VerifiedEdges(context)
    found = a_few_at_once(lambda shot: _shot_scale(shot, context, verified), shots, context.num_at_once())
    for index, scale in enumerate(found):
        if scale is not None:
            scales[index] = scale
        if 2 * len(_agreeing(scales)) > len(shots):
            break
    near = _agreeing(scales)
    told = [round(scale, 3) for scale in scales.values()]
    logger.info("focal lengths by %d of %d clips: times %s", len(scales), len(shots), told)
    if 2 * len(near) <= len(scales) or (len(near) == 1 and not _is_steady(shots[next(iter(near))], context, verified)):
        return None
    return _middle(near.values())


def _shot(frames: Sequence[View], photos: tuple[View, View]) -> _Shot:
    has_photos = len(frames) < MIN_WHOLE_FRAMES
    return _Shot([photos[0], *frames, photos[1]] if has_photos else frames, has_photos)


def _middle(scales: Iterable[float]) -> float:
    return float(np.exp(np.median(np.log(list(scales)))))


def _agreeing(scales: Mapping[int, float]) -> dict[int, float]:
    """Those within `MAX_RATIO` of the median."""
    if not scales:
        return {}
    middle = _middle(scales.values())
    return {index: scale for index, scale in scales.items() if 1 / MAX_RATIO <= scale / middle <= MAX_RATIO}


def _is_steady(shot: _Shot, context: EstimatorContext, verified: VerifiedEdges) -> bool:
    """Whether two parts agree on a focal length: a clip may zoom, and then its frames share no camera."""
    parts = _scales(shot.views, context, verified, shot.cameras)
    return bool(parts) and max(parts) <= MAX_DRIFT * min(parts)


def _shot_scale(shot: _Shot, context: EstimatorContext, verified: VerifiedEdges) -> float | None:
    """What most ways to calibrate a clip agree on: by all of its frames, and by every other one of them.

    Those are the ways in which its poses are sought as well, so that hardly anything is matched for this alone.
    """
    ways = [shot.views]
    if len(shot.views) >= 2 * MIN_HALF:
        ways += [shot.views[::2], shot.views[1::2]]
    scales = [scale for way in ways for scale in _scales(way, context, verified, [1] * len(way))]
    near = _agreeing(dict(enumerate(scales)))
    return _middle(near.values()) if 2 * len(near) > len(ways) else None


def _scales(
    views: Sequence[View], context: EstimatorContext, verified: VerifiedEdges, cameras: Sequence[int]
) -> list[float]:
    """By how much the focal lengths have to be multiplied, of every camera in turn; empty where the views are silent.

    Args:
        views: Of one clip, in order.
        context: Features, matches and seed.
        verified: What was verified before.
        cameras: Number of the camera of each view.
    """
    if len(views) < 3:
        return []
    camera = views[len(views) // 2].intrinsics
    edges = usable(verified.between(views, with_ends=False))
    features = [_seen_by(camera, view.intrinsics, context.features(view)) for view in views]
    model = reconstruct_views(features, [camera] * len(views), edges, context.seed, finds_focal_of=cameras)
    if model is None:
        return []
    placed = [pose for pose in poses_from_first(model, len(views)) if pose is not None]
    if len(placed) < MIN_SHARE * len(views):
        return []
    if max(geometry.rotation_angle_deg(pose.rotation) for pose in placed) < MIN_TURN_DEG:
        return []
    longer_px = max(camera.width_px, camera.height_px)
    found = [model.camera(number) for number in sorted(set(cameras))]
    over_longer = [float(other.mean_focal_length() / max(other.width, other.height)) for other in found]
    if not all(1 / MAX_FOCAL_FACTOR < ratio < MAX_FOCAL_FACTOR for ratio in over_longer):
        return []
    return [ratio * longer_px / float(camera.focal_px) for ratio in over_longer]


def _seen_by(camera: Intrinsics, own: Intrinsics, features: Features) -> Features:
    """Features where a camera would have them that differs in focal length and principal point from their own."""
    if own == camera:
        return features
    old_px, new_px = (2.0 * c.focal_px / (1.0 + c.aspect) * np.array([1.0, c.aspect]) for c in (own, camera))
    from_middle_px = features.keypoints_px - (own.cx_px, own.cy_px)
    return replace(features, keypoints_px=from_middle_px * new_px / old_px + (camera.cx_px, camera.cy_px))
