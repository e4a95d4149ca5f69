"""The frames of a clip as pose estimators see them: each with a camera of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from interpose_sfm.products import Clip, FrameMapping, Intrinsics, MaskArray, View
from interpose_sfm.storage.content_keys import view_key

# Models with one focal length -> those with one for each axis, which hold a picture that is scaled unequally, and how
# many coefficients these have; the first of them are those of the former.
_WITH_TWO_FOCALS = {
    "SIMPLE_PINHOLE": ("PINHOLE", 0),
    "SIMPLE_RADIAL": ("OPENCV", 4),
    "RADIAL": ("OPENCV", 4),
    "SIMPLE_DIVISION": ("DIVISION", 1),
    "SIMPLE_FISHEYE": ("FISHEYE", 0),
    "SIMPLE_RADIAL_FISHEYE": ("OPENCV_FISHEYE", 4),
    "RADIAL_FISHEYE": ("OPENCV_FISHEYE", 4),
}


def frame_views(clip: Clip, a: View, b: View) -> list[View]:
    """The frames of a clip as views, with cameras that go over from A's to B's.

    What is masked in either photo is masked in all frames: an overlay stays where it is, and of anything else nobody
    knows where it goes.
    """
    cameras = [a.intrinsics, b.intrinsics]
    if any(mapping.scale[0] != mapping.scale[1] for mapping in (clip.frame_from_a, clip.frame_from_b)):
        cameras = [_with_two_focals(camera) for camera in cameras]
    first = _frame_intrinsics(cameras[0], clip.frame_from_a, clip)
    last = _frame_intrinsics(cameras[1], clip.frame_from_b, clip)
    masks = [_frame_mask(a.mask, clip.frame_from_a, clip), _frame_mask(b.mask, clip.frame_from_b, clip)]
    known = [mask for mask in masks if mask is not None]
    mask = np.logical_and.reduce(known) if known else None
    views = []
    for index, frame in enumerate(clip.frames):
        share = (index + 1) / (len(clip.frames) + 1)
        nearer = first if share <= 0.5 else last
        distortion, aspect = nearer.distortion, nearer.aspect
        if first.model == last.model:
            distortion = tuple(a + share * (b - a) for a, b in zip(first.distortion, last.distortion, strict=True))
            aspect = first.aspect + share * (last.aspect - first.aspect)
        between = replace(
            nearer,
            focal_px=first.focal_px + share * (last.focal_px - first.focal_px),
            cx_px=first.cx_px + share * (last.cx_px - first.cx_px),
            cy_px=first.cy_px + share * (last.cy_px - first.cy_px),
            distortion=distortion,
            is_trusted=first.is_trusted and last.is_trusted,
            aspect=aspect,
        )
        views.append(View(view_key(frame, mask), frame, between, mask))
    return views


def _frame_mask(mask: MaskArray | None, frame_from_photo: FrameMapping, clip: Clip) -> MaskArray | None:
    """The mask of a photo where a frame shows the photo; nothing is masked beside it."""
    if mask is None:
        return None
    height_px, width_px = clip.frames[0].shape[:2]
    columns = np.floor((np.arange(width_px) + 0.5 - frame_from_photo.offset_px[0]) / frame_from_photo.scale[0])
    rows = np.floor((np.arange(height_px) + 0.5 - frame_from_photo.offset_px[1]) / frame_from_photo.scale[1])
    inside_x, inside_y = (columns >= 0) & (columns < mask.shape[1]), (rows >= 0) & (rows < mask.shape[0])
    found = np.ones((height_px, width_px), np.bool_)
    found[np.ix_(inside_y, inside_x)] = mask[np.ix_(rows[inside_y].astype(int), columns[inside_x].astype(int))]
    return found


def _with_two_focals(photo: Intrinsics) -> Intrinsics:
    """The same camera as a model with two focal lengths, where there is one."""
    model, num_coefficients = _WITH_TWO_FOCALS.get(photo.model, (photo.model, len(photo.distortion)))
    padding = (0.0,) * (num_coefficients - len(photo.distortion))
    return replace(photo, model=model, distortion=photo.distortion + padding)


def _frame_intrinsics(photo: Intrinsics, frame_from_photo: FrameMapping, clip: Clip) -> Intrinsics:
    """The camera of a frame that shows a photo scaled and shifted."""
    height_px, width_px = clip.frames[0].shape[:2]
    return photo.scaled((width_px, height_px), frame_from_photo.scale, frame_from_photo.offset_px)
