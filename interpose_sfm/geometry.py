"""All pose mathematics: angles, distances and averages of poses, projection, triangulation.

Functions whose names end in ``_deg`` return degrees; rotation vectors are in radians and end in ``_rad``. ``...`` in a
shape stands for leading axes; these broadcast. Angles come from atan2 of sine and cosine, because arccos alone loses
half of the digits near 0 and 180 degrees. Relative poses have a unit translation, or zero for a pure rotation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from interpose_sfm.products import FloatArray, Intrinsics, Pose

if TYPE_CHECKING:
    import pycolmap

NEAR_ZERO_BASELINE = 1e-6
"""A translation shorter than this has no direction."""

_PARALLEL_SINE = 1e-12
_MAX_ROUND_TRIP_PX = 0.5  # pixel to ray and back; a failed inversion is off by far more


# ---------------------------------------------------------------- angles


def rotation_angle_deg(rotation: ArrayLike) -> FloatArray:
    """(...) angles of (..., 3, 3) rotation matrices in degrees, in [0, 180]."""
    matrix = np.asarray(rotation, dtype=np.float64)
    skew = matrix - np.swapaxes(matrix, -1, -2)
    sine = np.sqrt(skew[..., 2, 1] ** 2 + skew[..., 0, 2] ** 2 + skew[..., 1, 0] ** 2)
    cosine = np.trace(matrix, axis1=-2, axis2=-1) - 1.0
    return np.asarray(np.degrees(np.arctan2(sine, cosine)))


def direction_angle_deg(u: ArrayLike, v: ArrayLike) -> FloatArray:
    """(...) angles in degrees, in [0, 180], between vectors (..., 3) of any length; ValueError for a zero vector."""
    sine, cosine = _sine_and_cosine(u, v)
    return np.asarray(np.degrees(np.arctan2(sine, cosine)))


def line_angle_deg(u: ArrayLike, v: ArrayLike) -> FloatArray:
    """As ``direction_angle_deg``, for lines: ``arccos |u . v|`` in [0, 90], u and -u being the same line."""
    sine, cosine = _sine_and_cosine(u, v)
    return np.asarray(np.degrees(np.arctan2(sine, np.abs(cosine))))


def _sine_and_cosine(u: ArrayLike, v: ArrayLike) -> tuple[FloatArray, FloatArray]:
    unit_u, unit_v = unit_vectors(u), unit_vectors(v)
    return np.linalg.norm(np.cross(unit_u, unit_v), axis=-1), np.sum(unit_u * unit_v, axis=-1)


def unit_vectors(vectors: ArrayLike) -> FloatArray:
    """(..., d) vectors scaled to length one; ValueError if one is zero or not finite."""
    array = np.asarray(vectors, dtype=np.float64)
    # By the largest component first, so that squares neither overflow nor underflow.
    largest = np.max(np.abs(array), axis=-1, keepdims=True, initial=0.0)
    if not np.all(np.isfinite(largest)) or np.any(largest == 0.0):
        raise ValueError("got a vector that is zero or not finite, expected directions; leave pure rotations out first")
    scaled = array / largest
    return np.asarray(scaled / np.linalg.norm(scaled, axis=-1, keepdims=True))


# ---------------------------------------------------------------- rotations


def is_rotation(matrix: ArrayLike, tolerance: float = 1e-6) -> bool:
    """True for a finite (3, 3) matrix with orthonormal columns, within the tolerance per entry, and determinant +1."""
    array = np.asarray(matrix, dtype=np.float64)
    if array.shape != (3, 3) or not np.all(np.isfinite(array)):
        return False
    return bool(np.max(np.abs(array.T @ array - np.eye(3))) <= tolerance and np.linalg.det(array) > 0.0)


def nearest_rotation(matrix: ArrayLike) -> FloatArray:
    """(..., 3, 3) rotations nearest to (..., 3, 3) matrices in the Frobenius norm (orthogonal Procrustes)."""
    left, _, right = np.linalg.svd(np.asarray(matrix, dtype=np.float64))
    left[..., :, 2] *= np.linalg.det(left @ right)[..., None]
    return np.asarray(left @ right)


def rotation_from_axis_angle(axis: ArrayLike, angle_deg: float) -> FloatArray:
    """(3, 3) rotation by an angle in degrees about an axis (3,) of any length above zero, right-handed."""
    return rotation_exp(unit_vectors(axis) * np.radians(angle_deg))


def rotation_exp(rotvec_rad: ArrayLike) -> FloatArray:
    """(..., 3, 3) rotations of (..., 3) rotation vectors (axis times angle in radians), right-handed."""
    from scipy.spatial.transform import Rotation

    vectors = np.asarray(rotvec_rad, dtype=np.float64)
    return np.asarray(Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix()).reshape(*vectors.shape, 3)


def rotation_log(rotation: ArrayLike) -> FloatArray:
    """(..., 3) rotation vectors in radians, of length at most pi, of (..., 3, 3) rotations; undoes ``rotation_exp``."""
    from scipy.spatial.transform import Rotation

    matrices = np.asarray(rotation, dtype=np.float64)
    return np.asarray(Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_rotvec()).reshape(matrices.shape[:-1])


# ---------------------------------------------------------------- distances between relative poses


def pose_distance_deg(first: Pose, second: Pose) -> float:
    """Distance of two relative poses, InterPose Eq. 2 to 4: ``angle(R2 R1^T) + arccos |t1 . t2|``, in [0, 270] degrees.

    The absolute value makes t and -t agree. Where either translation is near zero its direction means nothing and the
    rotation angle alone is returned. Both poses are ``b_from_a`` of the same pair; translations may have any length.
    """
    return float(pose_distance_matrix_deg([first], [second])[0, 0])


def signed_pose_distance_deg(first: Pose, second: Pose) -> float:
    """As ``pose_distance_deg``, but t and -t are 180 degrees apart; in [0, 360]."""
    return float(pose_distance_matrix_deg([first], [second], signed=True)[0, 0])


def pose_distance_matrix_deg(first: Sequence[Pose], second: Sequence[Pose], *, signed: bool = False) -> FloatArray:
    """(n, m) distances in degrees of every pose in ``first`` to every pose in ``second``, as ``pose_distance_deg``."""
    rotations_deg, directions_deg = pose_distance_terms_deg(first, second, signed=signed)
    return rotations_deg + np.nan_to_num(directions_deg, nan=0.0)


def pose_distance_terms_deg(
    first: Sequence[Pose], second: Sequence[Pose], *, signed: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Split the pose distance into its two terms, for every pose in ``first`` against every pose in ``second``.

    Args:
        first: n relative poses of one pair.
        second: m relative poses of the same pair.
        signed: False for the angle between lines (t and -t agree), True for the angle between directions.

    Returns:
        rotations_deg: (n, m) degrees.
        directions_deg: (n, m) degrees; NaN where either translation is near zero.
    """
    rotations_1, rotations_2 = (np.array([p.rotation for p in ps]).reshape(-1, 3, 3) for ps in (first, second))
    rotations_deg = rotation_angle_deg(rotations_2[None] @ np.swapaxes(rotations_1, -1, -2)[:, None])
    translations_1, translations_2 = (np.array([p.translation for p in ps]).reshape(-1, 3) for ps in (first, second))
    moves_1, moves_2 = (np.linalg.norm(t, axis=1) >= NEAR_ZERO_BASELINE for t in (translations_1, translations_2))
    directions_deg = np.full(rotations_deg.shape, np.nan)
    angle_deg = direction_angle_deg if signed else line_angle_deg
    directions_deg[np.ix_(moves_1, moves_2)] = angle_deg(translations_1[moves_1][:, None], translations_2[moves_2])
    return rotations_deg, directions_deg


# ---------------------------------------------------------------- averages


def mean_rotation(rotations: ArrayLike) -> FloatArray:
    """(3, 3) chordal L2 mean of (n, 3, 3) rotations, n >= 1: their sum projected onto SO(3) (Hartley et al., 2013)."""
    return nearest_rotation(_rotations(rotations).mean(axis=0))


def median_rotation(rotations: ArrayLike, max_iterations: int = 100, tolerance_rad: float = 1e-12) -> FloatArray:
    """(3, 3) geodesic L1 mean of (n, 3, 3) rotations, n >= 1, which tolerates outliers.

    Weiszfeld's algorithm in the tangent space (Hartley, Aftab, Trumpf, "L1 rotation averaging using the Weiszfeld
    algorithm", CVPR 2011), started at the input with the least sum of angles, because the problem is not convex. At an
    input the step is shortened as in Vardi and Zhang, 2000; the plain algorithm cannot leave or recognise such a point.
    """
    array = _rotations(rotations)
    sums = rotation_angle_deg(array[None] @ np.swapaxes(array, -1, -2)[:, None]).sum(axis=1)
    estimate: FloatArray = array[int(np.argmin(sums))]
    for _ in range(max_iterations):
        offsets = rotation_log(array @ estimate.T)
        angles = np.linalg.norm(offsets, axis=1)
        is_away = angles > tolerance_rad
        if not np.any(is_away):
            break
        pulls = offsets[is_away] / angles[is_away, None]
        pull = float(np.linalg.norm(pulls.sum(axis=0)))
        num_here = int(np.sum(~is_away))
        if pull <= num_here:
            break
        step = (1.0 - num_here / pull) * pulls.sum(axis=0) / np.sum(1.0 / angles[is_away])
        estimate = nearest_rotation(rotation_exp(step) @ estimate)
        if float(np.linalg.norm(step)) < tolerance_rad:
            break
    return estimate


def _rotations(rotations: ArrayLike) -> FloatArray:
    array = np.asarray(rotations, dtype=np.float64)
    if array.ndim != 3 or array.shape[0] == 0 or array.shape[1:] != (3, 3):
        raise ValueError(f"got rotations of shape {array.shape}, expected (n, 3, 3) with n >= 1")
    return array


def mean_direction(directions: ArrayLike) -> FloatArray:
    """(3,) unit mean of (n, 3) directions, n >= 1: the principal axis of the lines, with the sign most of them have.

    Outliers in sign do not bend the axis. Where the signs are balanced the largest component is made positive, so that
    the answer does not depend on the order of the input.
    """
    units = unit_vectors(directions)
    if units.ndim != 2 or units.shape[0] == 0:
        raise ValueError(f"got directions of shape {units.shape}, expected (n, 3) with n >= 1")
    axis: FloatArray = np.linalg.eigh(units.T @ units)[1][:, -1]
    vote = float(np.sum(units @ axis))
    if abs(vote) < 1e-9:
        vote = float(axis[np.argmax(np.abs(axis))])
    return axis if vote > 0.0 else -axis


def average_pose(poses: Sequence[Pose]) -> Pose:
    """Average one or more relative poses of one pair: ``mean_rotation`` and ``mean_direction``.

    The translation has length one; it is zero if at least half of the poses have none, which is the weaker claim.
    """
    translations = [p.translation for p in poses if float(np.linalg.norm(p.translation)) >= NEAR_ZERO_BASELINE]
    translation = mean_direction(translations) if 2 * len(translations) > len(poses) else np.zeros(3)
    return Pose(mean_rotation([p.rotation for p in poses]), translation)


# ---------------------------------------------------------------- transforms between frames


@dataclass(frozen=True)
class Similarity:
    """A similarity ``b_from_a``: ``x_in_b = scale * R @ x_in_a + t``.

    Attributes:
        scale: Above zero.
        rotation: (3, 3) float64.
        translation: (3,) float64 in the unit of frame b.
    """

    scale: float
    rotation: FloatArray
    translation: FloatArray

    def inverse(self) -> Similarity:
        """a_from_b."""
        return Similarity(1.0 / self.scale, self.rotation.T, -self.rotation.T @ self.translation / self.scale)

    def __matmul__(self, other: Similarity) -> Similarity:
        """``c_from_b @ b_from_a = c_from_a``."""
        return Similarity(self.scale * other.scale, self.rotation @ other.rotation, self.apply(other.translation))

    def apply(self, x_in_a: FloatArray) -> FloatArray:
        """(..., 3) x_in_b."""
        return self.scale * x_in_a @ self.rotation.T + self.translation

    def move_camera(self, cam_from_a: Pose) -> Pose:
        """Turn cam_from_a into cam_from_b: the same pictures, camera space in the unit of frame b."""
        rotation = cam_from_a.rotation @ self.rotation.T
        return Pose(rotation, self.scale * cam_from_a.translation - rotation @ self.translation)


def fit_similarity(x_in_a: FloatArray, x_in_b: FloatArray) -> Similarity:
    """Least-squares similarity ``b_from_a`` between corresponding points (Umeyama, PAMI 1991).

    Both are (n, 3) with n >= 3, not all on one line; ValueError where they do not determine a similarity.
    """
    a, b = np.asarray(x_in_a, dtype=np.float64), np.asarray(x_in_b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1:] != (3,) or len(a) < 3:
        raise ValueError(f"got points of shapes {a.shape} and {b.shape}, expected (n, 3) twice with n >= 3")
    if not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
        raise ValueError("got points that are not finite, expected numbers")
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    covariance = (b - mean_b).T @ (a - mean_a) / len(a)
    singular = np.linalg.svd(covariance, compute_uv=False)
    if singular[1] <= 1e-9 * singular[0]:
        raise ValueError("got points on one line, expected points that span a plane at least")
    rotation = nearest_rotation(covariance)
    scale = float(np.sum(rotation * covariance) / np.mean(np.sum((a - mean_a) ** 2, axis=1)))
    if scale <= 0.0:
        raise ValueError("got points whose best similarity is a reflection, expected points of equal handedness")
    return Similarity(scale, rotation, mean_b - scale * rotation @ mean_a)


def relative_pose(b_from_world: Pose, a_from_world: Pose) -> Pose:
    """b_from_a, in the scale of the world."""
    return b_from_world @ a_from_world.inverse()


def with_unit_translation(pose: Pose, min_baseline: float = NEAR_ZERO_BASELINE) -> Pose:
    """Scale the translation to length one, or to zero where it is shorter than ``min_baseline`` (in its own unit)."""
    if float(np.linalg.norm(pose.translation)) < min_baseline:
        return Pose(pose.rotation, np.zeros(3))
    return Pose(pose.rotation, unit_vectors(pose.translation))


# ---------------------------------------------------------------- projection and triangulation


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


def epipolar_errors_px(
    b_from_a: Pose, points_a_px: FloatArray, intrinsics_a: Intrinsics, points_b_px: FloatArray, intrinsics_b: Intrinsics
) -> FloatArray:
    """(n,) distances of the points in B from the epipolar planes of those in A, as angles times the focal length.

    Infinite for points without a ray.
    """
    rays_a = unit_rays(points_a_px, intrinsics_a)
    rays_b = unit_rays(points_b_px, intrinsics_b)
    normals = np.cross(b_from_a.translation, rays_a @ b_from_a.rotation.T)
    sines = np.sum(normals * rays_b, axis=1) / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    errors_px = np.abs(np.arcsin(np.clip(sines, -1, 1))) * intrinsics_b.focal_px
    return np.asarray(np.nan_to_num(errors_px, nan=np.inf))


@dataclass(frozen=True)
class Triangulation:
    """Points from two views.

    Attributes:
        x_in_a: (n, 3) points in the frame of camera a, in the unit of the baseline; NaN where rays are parallel.
        depths_a, depths_b: (n,) depths in either camera, negative for points behind it; NaN where rays are parallel.
    """

    x_in_a: FloatArray
    depths_a: FloatArray
    depths_b: FloatArray


def triangulate(b_from_a: Pose, rays_a: FloatArray, rays_b: FloatArray) -> Triangulation:
    """Midpoint triangulation of many correspondences at once: the middle of the shortest segment between two rays.

    The baseline is in any unit; rays are (n, 3), of any length, in the frame of their camera, as of ``pixel_to_ray``.
    """
    in_b = rays_a @ b_from_a.rotation.T
    normal = np.cross(in_b, rays_b)
    square = np.sum(normal**2, axis=-1)
    is_parallel = square <= (_PARALLEL_SINE * np.linalg.norm(in_b, axis=-1) * np.linalg.norm(rays_b, axis=-1)) ** 2
    square = np.where(is_parallel, np.nan, square)
    along_a = np.sum(np.cross(rays_b, b_from_a.translation) * normal, axis=-1) / square
    along_b = np.sum(np.cross(in_b, b_from_a.translation) * normal, axis=-1) / square
    x_in_b = 0.5 * (along_a[:, None] * in_b + b_from_a.translation + along_b[:, None] * rays_b)
    x_in_a = (x_in_b - b_from_a.translation) @ b_from_a.rotation
    return Triangulation(x_in_a=x_in_a, depths_a=x_in_a[:, 2], depths_b=x_in_b[:, 2])


def triangulation_angles_deg(b_from_a: Pose, x_in_a: FloatArray) -> FloatArray:
    """(...) angles in degrees at points (..., 3) between the directions to the centres of a and b; NaN stays NaN."""
    x = np.asarray(x_in_a, dtype=np.float64)
    is_known = np.all(np.isfinite(x), axis=-1)
    angles_deg = np.full(is_known.shape, np.nan)
    angles_deg[is_known] = direction_angle_deg(x[is_known], x[is_known] - b_from_a.inverse().translation)
    return angles_deg


# ---------------------------------------------------------------- pycolmap


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


def link_errors_deg(implied: Pose, linked: Pose) -> tuple[float, float]:
    """Angles of rotation and of direction between two relative poses of one pair; 180 where there is no baseline."""
    rotation_deg = float(rotation_angle_deg(implied.rotation @ linked.rotation.T))
    if not np.any(implied.translation):
        return rotation_deg, 180.0
    return rotation_deg, float(direction_angle_deg(implied.translation, linked.translation))
