"""Models in metres, east, north and up, by the GPS positions of their photos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm.colmap import reconstruction
from interpose_sfm.joining.gps import MIN_PHOTOS, POSITION_SIGMA_M, position_sigma_m
from interpose_sfm.products import FloatArray, Pose

if TYPE_CHECKING:
    import pycolmap

MAX_ERROR_M = 3.0 * POSITION_SIGMA_M  # of a photo; those that miss by more are taken for errors of the receiver
MAX_TURN_DEG = 10.0  # about the line that positions lie along
MAX_SCALE_SIGMA = 0.1  # models of a few metres would get any size


@dataclass(frozen=True)
class Georegistration:
    """A model in metres, or why it is not.

    Attributes:
        model: A copy in east, north and up, in metres; the model itself where it is not georegistered.
        is_done: Which of the two.
        num_photos: Those of known position, altitude included.
        error_m: Median distance between where these are in the model and their positions; NaN where it is not done.
        detail: A sentence about it.
    """

    model: pycolmap.Reconstruction
    is_done: bool
    num_photos: int
    error_m: float
    detail: str


def georegister(model: pycolmap.Reconstruction, positions_m: Mapping[str, FloatArray], seed: int) -> Georegistration:
    """The model moved, turned and scaled so that its photos lie at their positions, as far as these determine that.

    A similarity by LO-RANSAC (pycolmap's ``align_reconstruction_to_locations``), so that single wrong positions do not
    count; it does not bend the model.

    Args:
        model: It is not altered.
        positions_m: East, north and up by photo; those whose up is NaN do not count.
        seed: Of RANSAC.
    """
    import pycolmap

    poses = reconstruction.poses(model)
    known = {name: positions_m[name] for name in sorted(poses) if name in positions_m}
    known = {name: position for name, position in known.items() if np.isfinite(position[2])}
    why = _lack(poses, known)
    if why:
        return _not_done(model, known, why)
    options = pycolmap.RANSACOptions(max_error=MAX_ERROR_M, random_seed=seed, num_threads=1)
    metres = pycolmap.align_reconstruction_to_locations(
        model, list(known), np.array(list(known.values())), MIN_PHOTOS, options
    )
    if metres is None:
        why = f"no similarity brings {MIN_PHOTOS} photos to within {MAX_ERROR_M:.0f} m of their positions"
        return _not_done(model, known, why)
    moved = pycolmap.Reconstruction(model)
    moved.transform(metres)
    centers = _centers(reconstruction.poses(moved), known)
    errors_m = np.linalg.norm(centers - np.array(list(known.values())), axis=1)
    error_m, num_far = float(np.median(errors_m)), int(np.sum(errors_m > MAX_ERROR_M))
    far = f"; {num_far} miss by more than {MAX_ERROR_M:.0f} m and do not count" if num_far else ""
    detail = f"in metres by {len(known)} photos with GPS, which miss their positions by {error_m:.1f} m (median){far}"
    return Georegistration(moved, True, len(known), error_m, detail)


def _lack(poses: Mapping[str, Pose], known: Mapping[str, FloatArray]) -> str:
    """Why positions do not determine a similarity, by their error and how far the model's photos spread; else empty."""
    if len(known) < MIN_PHOTOS:
        return f"{len(known)} of its photos have a GPS position with an altitude, expected {MIN_PHOTOS}"
    centers, targets_m = _centers(poses, known), np.array(list(known.values()))
    reach, reach_m = (
        np.median(np.linalg.norm(rows - np.median(rows, axis=0), axis=1)) for rows in (centers, targets_m)
    )
    spreads = np.linalg.svd(centers - centers.mean(axis=0), compute_uv=False)
    along_m, across_m, _ = reach_m / max(reach, 1e-12) * spreads
    sigma_m = position_sigma_m([poses], known)
    scale_sigma = sigma_m / max(along_m, 1e-9)
    if scale_sigma > MAX_SCALE_SIGMA:
        return (
            f"its {len(known)} photos with GPS lie too close together, which tells its size to {scale_sigma:.0%} only, "
            f"expected {MAX_SCALE_SIGMA:.0%}"
        )
    if np.degrees(sigma_m / max(across_m, 1e-9)) > MAX_TURN_DEG:
        return f"its {len(known)} photos with GPS lie in a line, which leaves the turn about it open"
    return ""


def _not_done(model: pycolmap.Reconstruction, known: Mapping[str, FloatArray], why: str) -> Georegistration:
    return Georegistration(model, False, len(known), float("nan"), f"not georegistered: {why}")


def _centers(poses: Mapping[str, Pose], names: Iterable[str]) -> FloatArray:
    return np.array([poses[name].inverse().translation for name in names])
