"""Similarities: how one model lies in the frame of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interpose_sfm.geometry.rotations import nearest_rotation
from interpose_sfm.products import FloatArray, Pose


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
