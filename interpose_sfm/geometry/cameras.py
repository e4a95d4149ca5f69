"""Cameras by COLMAP's models: poses and cameras to pycolmap and back, points to pixels and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm.products import FloatArray, Intrinsics, Pose

if TYPE_CHECKING:
    import pycolmap

_MAX_ROUND_TRIP_PX = 0.5  # pixel to ray and back; a failed inversion is off by far more


def to_rigid3d(pose: Pose) -> pycolmap.Rigid3d:
    """Convert a pose to pycolmap."""
    import pycolmap
    from scipy.spatial.transform import Rotation

    quaternion = Rotation.from_matrix(pose.rotation).as_quat(canonical=True)
    return pycolmap.Rigid3d(pycolmap.Rotation3d(quaternion), pose.translation)


def from_rigid3d(rigid: pycolmap.Rigid3d) -> Pose:
    """Convert, and copy, a pycolmap transform."""
    return Pose(np.array(rigid.rotation.matrix(), dtype=np.float64), np.array(rigid.translation, dtype=np.float64))


def to_colmap_camera(intrinsics: Intrinsics, camera_id: int = 1) -> pycolmap.Camera:
    """Convert to pycolmap; the focal length counts as prior where it is trusted."""
    import pycolmap

    camera = pycolmap.Camera.create_from_model_name(
        camera_id, intrinsics.model, intrinsics.focal_px, intrinsics.width_px, intrinsics.height_px
    )
    params = np.array(camera.params)
    if len(camera.focal_length_idxs()) == 2:
        along_x_px = 2.0 * intrinsics.focal_px / (1.0 + intrinsics.aspect)
        params[list(camera.focal_length_idxs())] = along_x_px, intrinsics.aspect * along_x_px
    if not camera.is_spherical():
        params[list(camera.principal_point_idxs())] = intrinsics.cx_px, intrinsics.cy_px
    params[list(camera.extra_params_idxs())] = intrinsics.distortion
    camera.params = params.tolist()
    camera.has_prior_focal_length = intrinsics.is_trusted
    return camera


def from_colmap_camera(camera: pycolmap.Camera, is_trusted: bool) -> Intrinsics:
    """Convert, and copy, a pycolmap camera.

    A panorama has neither focal length nor principal point: it gets its pixels per radian and the middle.
    """
    params = np.array(camera.params)
    is_spherical = camera.is_spherical()
    return Intrinsics(
        width_px=int(camera.width),
        height_px=int(camera.height),
        focal_px=camera.width / (2 * np.pi) if is_spherical else float(camera.mean_focal_length()),
        cx_px=camera.width / 2 if is_spherical else float(camera.principal_point_x),
        cy_px=camera.height / 2 if is_spherical else float(camera.principal_point_y),
        distortion=tuple(params[list(camera.extra_params_idxs())].tolist()),
        is_trusted=is_trusted,
        model=camera.model.name,
        aspect=1.0 if is_spherical or not camera.focal_length_x else camera.focal_length_y / camera.focal_length_x,
    )


def project(x_in_cam: FloatArray, intrinsics: Intrinsics) -> FloatArray:
    """Pixel positions of points, by COLMAP's camera model.

    Takes (..., 3) points in the camera frame, returns (..., 2) pixels in COLMAP's convention, also outside of the
    image; NaN for points that are not in front.
    """
    x = np.asarray(x_in_cam, dtype=np.float64)
    points_px = np.asarray(to_colmap_camera(intrinsics).img_from_cam(x.reshape(-1, 3)))
    points_px[~np.isfinite(points_px).all(axis=1)] = np.nan
    return points_px.reshape(*x.shape[:-1], 2)


def pixel_to_ray(points_px: FloatArray, intrinsics: Intrinsics) -> FloatArray:
    """Rays of pixel positions, inverse of ``project``: ``x_in_cam = depth * ray``.

    Takes (..., 2) pixels in COLMAP's convention, returns (..., 3) rays with z = 1; NaN for pixels that no point in
    front of the camera is seen at: those a barrel distortion cannot reach, or 90 degrees and more beside the axis.
    """
    points = np.asarray(points_px, dtype=np.float64).reshape(-1, 2)
    camera = to_colmap_camera(intrinsics)
    rays = np.column_stack([np.asarray(camera.cam_from_img(points)), np.ones(len(points))])
    # beyond 90 degrees COLMAP's fisheye models return the rays of other pixels
    back_px = np.asarray(camera.img_from_cam(rays))
    rays[~(np.linalg.norm(back_px - points, axis=1) < _MAX_ROUND_TRIP_PX)] = np.nan
    return rays.reshape(*np.shape(points_px)[:-1], 3)


def unit_rays(points_px: FloatArray, intrinsics: Intrinsics) -> FloatArray:
    """As ``pixel_to_ray``, but of length one; NaN, which agrees with nothing, where a pixel has no ray."""
    rays = pixel_to_ray(points_px, intrinsics)
    return np.asarray(rays / np.linalg.norm(rays, axis=-1, keepdims=True))
