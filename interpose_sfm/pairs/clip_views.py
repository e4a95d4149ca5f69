"""The frames of a clip as pose estimators see them: each with a camera of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from interpose_sfm.products import Clip, FrameMapping, Intrinsics, View
from interpose_sfm.storage.content_keys import image_key


def frame_views(clip: Clip, intrinsics_a: Intrinsics, intrinsics_b: Intrinsics) -> list[View]:
    """The frames of a clip as views, with cameras that go over from A's to B's."""
    first = _frame_intrinsics(intrinsics_a, clip.frame_from_a, clip)
    last = _frame_intrinsics(intrinsics_b, clip.frame_from_b, clip)
    views = []
    for index, frame in enumerate(clip.frames):
        share = (index + 1) / (len(clip.frames) + 1)
        between = replace(
            first,
            focal_px=first.focal_px + share * (last.focal_px - first.focal_px),
            cx_px=first.cx_px + share * (last.cx_px - first.cx_px),
            cy_px=first.cy_px + share * (last.cy_px - first.cy_px),
            radial=first.radial + share * (last.radial - first.radial),
            is_trusted=first.is_trusted and last.is_trusted,
        )
        views.append(View(image_key(frame), frame, between))
    return views


def _frame_intrinsics(photo: Intrinsics, frame_from_photo: FrameMapping, clip: Clip) -> Intrinsics:
    """The camera of a frame that shows a photo scaled and shifted."""
    height_px, width_px = clip.frames[0].shape[:2]
    scale_x, scale_y = frame_from_photo.scale
    return Intrinsics(
        width_px=width_px,
        height_px=height_px,
        focal_px=photo.focal_px * float(np.sqrt(scale_x * scale_y)),
        cx_px=scale_x * photo.cx_px + frame_from_photo.offset_px[0],
        cy_px=scale_y * photo.cy_px + frame_from_photo.offset_px[1],
        radial=photo.radial,
        is_trusted=photo.is_trusted,
    )
