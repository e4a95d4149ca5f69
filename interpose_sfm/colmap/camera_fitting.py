"""COLMAP's cameras as the pinhole with one radial coefficient that the learned stages work with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm.products import Intrinsics

if TYPE_CHECKING:
    import pycolmap


def intrinsics_of(camera: pycolmap.Camera, is_trusted: bool) -> Intrinsics:
    """The pinhole-plus-one-radial view of a COLMAP camera that the learned stages work with.

    The nearest one for cameras of other models; `camera_error_px` says how near that is.
    """
    focal_px, radial, _ = _nearest_radial(camera)
    is_spherical = not camera.principal_point_idxs()
    return Intrinsics(
        width_px=int(camera.width),
        height_px=int(camera.height),
        focal_px=focal_px,
        cx_px=camera.width / 2 if is_spherical else float(camera.principal_point_x),
        cy_px=camera.height / 2 if is_spherical else float(camera.principal_point_y),
        radial=radial,
        is_trusted=is_trusted,
    )


def camera_error_px(camera: pycolmap.Camera) -> float:
    """Largest error in the picture that `intrinsics_of` makes with a camera; infinite where there is no such view."""
    return _nearest_radial(camera)[2]


def _nearest_radial(camera: pycolmap.Camera) -> tuple[float, float, float]:
    """Focal length, radial coefficient and largest error in pixels of the SIMPLE_RADIAL camera nearest to a camera.

    With the principal point as it is, ``x_px - c = f u + f k r^2 u`` is linear in f and f k, over a grid of pixels.
    """
    if camera.model.name in ("SIMPLE_PINHOLE", "SIMPLE_RADIAL"):
        return float(camera.mean_focal_length()), float(sum(camera.params[3:])), 0.0
    if not camera.focal_length_idxs():  # a panorama: its pixels per radian, for want of anything better
        return float(camera.width / (2 * np.pi)), 0.0, np.inf
    known: tuple[float, float] | None = None
    if camera.model.name in ("PINHOLE", "RADIAL"):
        known = float(camera.mean_focal_length()), float(camera.params[3]) if camera.model.name == "RADIAL" else 0.0
    columns, rows = np.meshgrid(np.linspace(0, camera.width, 17), np.linspace(0, camera.height, 13))
    positions_px = np.stack([columns.ravel(), rows.ravel()], 1)
    rays = np.asarray(camera.cam_from_img(positions_px), np.float64)
    offsets_px = positions_px - [camera.principal_point_x, camera.principal_point_y]
    if not np.isfinite(rays).all():  # a view of 180 degrees and more, or distortion that folds over
        return *(known or (float(camera.mean_focal_length()), 0.0)), np.inf
    design = np.stack([rays.ravel(), (rays * np.sum(rays**2, axis=1, keepdims=True)).ravel()], 1)
    if known is None:
        focal_px, product = np.linalg.lstsq(design, offsets_px.ravel(), rcond=None)[0]
        known = float(focal_px), float(product / focal_px)
    residual_px = design @ [known[0], known[0] * known[1]] - offsets_px.ravel()
    return *known, float(np.linalg.norm(residual_px.reshape(-1, 2), axis=1).max())
