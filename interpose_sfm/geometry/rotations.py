"""Angles between vectors, rotations, and averages of both."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from interpose_sfm.products import FloatArray


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
