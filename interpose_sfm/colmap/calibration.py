"""Focal lengths from links, or from verified pairs, for cameras that neither EXIF nor a base model knows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap import databases
from interpose_sfm.colmap.constants import FOCAL_RANGE, MAX_ERROR_PX
from interpose_sfm.products import Intrinsics, Link

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

MAX_FOCAL_FACTOR = 3.0  # of the longer side; beyond it, and below its inverse, the calibration has failed


def calibrate_focal_lengths(
    cameras: Mapping[str, Intrinsics], camera_ids: Mapping[str, int], links: Sequence[Link], seed: int
) -> dict[str, Intrinsics]:
    """Replace guessed focal lengths by what the fundamental matrices of the links imply.

    COLMAP's view-graph calibration (GLOMAP, Pan et al. 2024, section 3.1). Good to some percent on scenes with depth,
    worse on flat ones: the result remains untrusted, and the adjustment refines it.

    Args:
        cameras: Photo name -> camera.
        camera_ids: Photo name -> id of its camera; photos with one id share it.
        links: Believed links.
        seed: Of RANSAC.

    Returns:
        All cameras, the untrusted ones of linked photos with a new focal length where the calibration succeeded; those
        of fisheye models as they were.
    """
    import pycolmap

    # the fundamental matrix knows straight lines only
    perspective = {name for name, c in cameras.items() if geometry.to_colmap_camera(c).is_perspective_pinhole()}
    links = [link for link in links if perspective.issuperset((link.pair.a, link.pair.b))]
    names = sorted({name for link in links for name in (link.pair.a, link.pair.b)})
    if not links or all(cameras[name].is_trusted for name in names):
        return dict(cameras)
    with TemporaryDirectory(prefix="interpose_sfm-") as folder:
        path = Path(folder) / "links.db"
        _write_links(path, cameras, camera_ids, names, links, seed)
        options = pycolmap.ViewGraphCalibrationOptions(random_seed=seed, reestimate_relative_pose=False)
        focal_px = calibrate_database(path, options)
    result = dict(cameras)
    for name, camera in cameras.items():
        estimate_px = focal_px.get(camera_ids[name])
        if estimate_px is None or camera.is_trusted or name not in perspective:
            continue
        factor = estimate_px / max(camera.width_px, camera.height_px)
        if 1 / MAX_FOCAL_FACTOR < factor < MAX_FOCAL_FACTOR:
            result[name] = replace(camera, focal_px=float(estimate_px))
    return result


def _write_links(
    path: Path,
    cameras: Mapping[str, Intrinsics],
    camera_ids: Mapping[str, int],
    names: Sequence[str],
    links: Sequence[Link],
    seed: int,
) -> None:
    """A database that holds nothing but the links, each with key points of its own."""
    import pycolmap

    ids = {name: index + 1 for index, name in enumerate(names)}
    points: dict[str, list[np.ndarray]] = {name: [] for name in names}
    rows = []
    for link in links:
        starts = []
        for name, points_px in ((link.pair.a, link.points_a_px), (link.pair.b, link.points_b_px)):
            starts.append(sum(map(len, points[name])))
            points[name].append(points_px)
        count = np.arange(len(link.points_a_px))
        rows.append(np.stack([starts[0] + count, starts[1] + count], 1).astype(np.uint32))
    with pycolmap.Database.open(path) as database, pycolmap.DatabaseTransaction(database):
        for camera_id in sorted({camera_ids[name] for name in names}):
            owner = next(name for name in names if camera_ids[name] == camera_id)
            camera = geometry.to_colmap_camera(cameras[owner], camera_id)
            database.write_camera(camera, use_camera_id=True)
            rig = pycolmap.Rig(rig_id=camera_id)
            rig.add_ref_sensor(camera.sensor_id)
            database.write_rig(rig, use_rig_id=True)
        for name, image_id in ids.items():
            image = pycolmap.Image(name=name, camera_id=camera_ids[name], image_id=image_id)
            frame = pycolmap.Frame(frame_id=image_id, rig_id=camera_ids[name])
            frame.add_data_id(image.data_id)
            database.write_frame(frame, use_frame_id=True)
            image.frame_id = image_id
            database.write_image(image, use_image_id=True)
            database.write_keypoints(image_id, np.concatenate(points[name]).astype(np.float32))
        ransac = pycolmap.RANSACOptions(max_error=MAX_ERROR_PX, random_seed=seed, num_threads=1)
        for link, pair_rows in zip(links, rows, strict=True):
            estimate = pycolmap.estimate_fundamental_matrix(link.points_a_px, link.points_b_px, ransac)
            if estimate is None:
                continue
            stored = pycolmap.TwoViewGeometry()
            stored.config = pycolmap.TwoViewGeometryConfiguration.UNCALIBRATED
            stored.F = estimate["F"]
            stored.inlier_matches = pair_rows[estimate["inlier_mask"]]
            database.write_matches(ids[link.pair.a], ids[link.pair.b], pair_rows)
            database.write_two_view_geometry(ids[link.pair.a], ids[link.pair.b], stored)


def calibrate_database(path: Path, options: pycolmap.ViewGraphCalibrationOptions) -> dict[int, float]:
    """Find focal lengths that no prior gives from the verified pairs of a database of ours, and write them there.

    COLMAP also marks focal lengths as known that it has left as they were, as of cameras whose pairs have no
    fundamental matrix to calibrate by; those stay guesses here.

    Returns:
        Camera id -> focal length in pixels, of those that were found; all fisheyes and panoramas are left out.
    """
    import pycolmap

    with pycolmap.Database.open(path) as database:
        before = {camera.camera_id: camera for camera in database.read_all_cameras()}
    pycolmap.calibrate_view_graph(path, options)
    found_px = {}
    with pycolmap.Database.open(path) as database:
        for camera in database.read_all_cameras():
            guess = before[camera.camera_id]
            if not np.array_equal(camera.params, guess.params):
                found_px[camera.camera_id] = camera.mean_focal_length()
            elif camera.has_prior_focal_length != guess.has_prior_focal_length:
                database.update_camera(guess)
    return found_px


def calibrated_copy(database_path: Path, copy_path: Path, seed: int) -> bool:
    """Copy a database, with focal lengths from its own verified pairs as known ones where EXIF has none.

    Only the focal lengths are taken over: COLMAP estimates the geometries anew at 1 px as well, and loses pairs so.
    Forward motion and walls determine no focal length, so that unusual ones are left out.

    Returns:
        Whether a focal length was found.
    """
    import pycolmap

    databases.copy_database(database_path, copy_path)
    scratch = copy_path.with_name(f"{copy_path.name}.scratch")
    databases.copy_database(database_path, scratch)
    try:
        found_px = calibrate_database(scratch, pycolmap.ViewGraphCalibrationOptions(random_seed=seed))
    except ValueError as error:  # a database of somebody else may hold pairs without a fundamental matrix
        logger.warning("focal lengths could not be found from the verified pairs: %s", error)
        return False
    has_found = False
    with pycolmap.Database.open(copy_path) as database:
        for camera in database.read_all_cameras():
            ratio = found_px.get(camera.camera_id, 0.0) / max(camera.width, camera.height)
            if not FOCAL_RANGE[0] <= ratio <= FOCAL_RANGE[1]:
                continue
            params = np.array(camera.params)
            params[list(camera.focal_length_idxs())] = found_px[camera.camera_id]
            camera.params = params.tolist()
            camera.has_prior_focal_length = has_found = True
            database.update_camera(camera)
    return has_found
