"""The focal length of photos that say nothing of it, from the clips between them.

All frames of a clip share one camera, and it moves: a reconstruction of the frames alone settles its focal length, as
self-calibration does for any film. What a video model imagines is no photograph, so every clip is asked by itself, and
what most of them agree on is believed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap.calibration import MAX_FOCAL_FACTOR
from interpose_sfm.pose.edges import VerifiedEdges, usable
from interpose_sfm.pose.protocol import EstimatorContext
from interpose_sfm.pose.small_sfm import poses_from_first, reconstruct_views
from interpose_sfm.products import View

logger = logging.getLogger(__name__)

MAX_FRAMES = 13
"""Frames that a clip is calibrated by: with a turn of 60 degrees they lie five apart, which matches well."""

MIN_SHARE = 0.75  # of the frames: a model of fewer has broken apart, and its focal length is that of a part
MIN_TURN_DEG = 5.0  # focal length and depth cannot be told apart without a turn
MAX_RATIO = 1.15  # between two clips of one pair; measured on real photos they differ by 5 to 10 percent


def focal_scale(clips: Sequence[Sequence[View]], context: EstimatorContext) -> float | None:
    """By how much the focal lengths that the frames state have to be multiplied.

    Args:
        clips: Frames of every clip, in order; those of one clip are of one size and share a camera.
        context: Features, matches and seed.

    Returns:
        The median over the clips that agree with it within `MAX_RATIO`, if they are more than half of those that
        could be calibrated; None otherwise. Once more than half of all clips agree the others are not asked.
    """
    scales: list[float] = []
    for frames in clips:
        scale = _clip_scale(frames, context)
        scales += [] if scale is None else [scale]
        if 2 * len(_agreeing(scales)) > len(clips):
            break
    near = _agreeing(scales)
    logger.info("focal lengths by %d of %d clips: times %s", len(scales), len(clips), [round(s, 3) for s in scales])
    return float(np.exp(np.median(np.log(near)))) if 2 * len(near) > len(scales) else None


def _agreeing(scales: Sequence[float]) -> list[float]:
    """Those within `MAX_RATIO` of the median."""
    if not scales:
        return []
    middle = float(np.exp(np.median(np.log(scales))))
    return [scale for scale in scales if 1 / MAX_RATIO <= scale / middle <= MAX_RATIO]


def _clip_scale(frames: Sequence[View], context: EstimatorContext) -> float | None:
    chosen = sorted({round(index) for index in np.linspace(0, len(frames) - 1, min(len(frames), MAX_FRAMES))})
    if len(chosen) < 3:
        return None
    camera = frames[chosen[len(chosen) // 2]].intrinsics
    views = [replace(frames[index], intrinsics=camera) for index in chosen]
    edges = usable(VerifiedEdges(context).between(views, with_ends=False))
    features = [context.features(view) for view in views]
    model = reconstruct_views(features, [camera] * len(views), edges, context.seed, finds_focal=True)
    if model is None:
        return None
    placed = [pose for pose in poses_from_first(model, len(views)) if pose is not None]
    if len(placed) < MIN_SHARE * len(views):
        return None
    if max(geometry.rotation_angle_deg(pose.rotation) for pose in placed) < MIN_TURN_DEG:
        return None
    focal_px = float(model.camera(1).mean_focal_length())
    longer_px = max(camera.width_px, camera.height_px)
    if not 1 / MAX_FOCAL_FACTOR < focal_px / longer_px < MAX_FOCAL_FACTOR:
        return None
    return focal_px / float(camera.focal_px)
