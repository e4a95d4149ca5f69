"""Structure from motion of a handful of views with known cameras and verified matches, by pycolmap's mapper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.matching import agreement
from interpose_sfm.products import Features, IndexArray, Intrinsics, Matches, Pose, TwoView

if TYPE_CHECKING:
    import pycolmap

MIN_POINTS = 15  # a view registers with so many: half of COLMAP's 30, since its cameras are known and its matches clean
MIN_INIT_ANGLE_DEG = 2.0  # neighbouring frames are close; the adjustment over all views settles the rest
MIN_POINT_ANGLE_DEG = 1.0
FOCAL_ROUNDS = 10
COST_TOLERANCE = 1e-6
"""An adjustment ends where a step gains less, relative to the cost: without, as in COLMAP, it takes its 100 steps, in
twice the time. Focal lengths that frames settle come out the same; those that they leave loose, elsewhere."""

MAX_MATCHES = 1000  # per pair of views, the most confident: more cost time and do not move the poses


def reconstruct_views(
    features: Sequence[Features],
    intrinsics: Sequence[Intrinsics],
    edges: Mapping[tuple[int, int], tuple[Matches, TwoView]],
    seed: int,
    *,
    finds_focal_of: Sequence[int] = (),
) -> pycolmap.Reconstruction | None:
    """Place views and triangulate their tracks.

    Starts from the verified pair with the most inliers among those with enough parallax, registers the other views by
    absolute pose, and adjusts everything with fixed cameras. Image ids are view indices plus one. The model is in
    pixels of the pictures that the network saw (`agreement.NETWORK_PX`), where one limit holds for photos and frames.

    Args:
        features, intrinsics: Of every view.
        edges: (i, j) with i < j -> matches and the two-view geometry that verified them.
        seed: Equal seeds give equal results.
        finds_focal_of: Number of every view's camera, from 1 on, whose focal length is adjusted as well; each begins as
            that of its first view. Without, every view has a camera of its own, which stays.

    Returns:
        The model, or None where no pair can start one.
    """
    import pycolmap

    with TemporaryDirectory() as folder:
        numbers = finds_focal_of or range(1, len(features) + 1)
        pictures = [_as_the_network_saw(*view) for view in zip(features, intrinsics, strict=True)]
        cache = _database_cache(Path(folder) / "views.db", pictures, edges, numbers)
    mapper = pycolmap.IncrementalMapper(cache)
    model = pycolmap.Reconstruction()
    mapper.begin_reconstruction(model)
    options = pycolmap.IncrementalMapperOptions(
        init_min_tri_angle=MIN_INIT_ANGLE_DEG,
        abs_pose_min_num_inliers=MIN_POINTS,
        abs_pose_refine_focal_length=False,
        abs_pose_refine_extra_params=False,
        filter_min_tri_angle=MIN_POINT_ANGLE_DEG,
        filter_max_reproj_error=agreement.TOLERANCE_NETWORK_PX,
        num_threads=1,
        random_seed=seed,
    )
    triangulation = pycolmap.IncrementalTriangulatorOptions(
        min_angle=MIN_POINT_ANGLE_DEG,
        merge_max_reproj_error=agreement.TOLERANCE_NETWORK_PX,
        complete_max_reproj_error=agreement.TOLERANCE_NETWORK_PX,
    )
    if not _initialise(mapper, model, edges, options, triangulation):
        mapper.end_reconstruction(discard=False)
        return None
    _grow(mapper, options, triangulation)
    adjustment = pycolmap.BundleAdjustmentOptions(
        refine_focal_length=bool(finds_focal_of),
        refine_principal_point=False,
        refine_extra_params=False,
        print_summary=False,
    )
    adjustment.ceres.solver_options.function_tolerance = COST_TOLERANCE
    # A focal length that is far off moves every point: what was dropped for it is looked at again.
    rounds = FOCAL_ROUNDS if finds_focal_of else 2
    mapper.iterative_global_refinement(rounds, 0.001, options, adjustment, triangulation, True)
    mapper.end_reconstruction(discard=False)
    return model


def poses_from_first(model: pycolmap.Reconstruction, num_views: int) -> tuple[Pose | None, ...]:
    """cam_from_first of every view, None for views that are not registered; all None if the first is not."""
    worlds = [
        geometry.from_rigid3d(model.image(i + 1).cam_from_world())
        if model.exists_image(i + 1) and model.image(i + 1).has_pose
        else None
        for i in range(num_views)
    ]
    first = worlds[0]
    if first is None:
        return (None,) * num_views
    return tuple(None if world is None else geometry.relative_pose(world, first) for world in worlds)


def _initialise(
    mapper: pycolmap.IncrementalMapper,
    model: pycolmap.Reconstruction,
    edges: Mapping[tuple[int, int], tuple[Matches, TwoView]],
    options: pycolmap.IncrementalMapperOptions,
    triangulation: pycolmap.IncrementalTriangulatorOptions,
) -> bool:
    usable = [
        (key, two_view)
        for key, (_, two_view) in edges.items()
        if two_view.b_from_a is not None
        and np.linalg.norm(two_view.b_from_a.translation) > 0
        and two_view.evidence.triangulation_angle_deg >= MIN_INIT_ANGLE_DEG
    ]
    # Parallax up to 15 degrees is worth having, more is not: matches get fewer and worse.
    usable.sort(key=lambda item: -item[1].evidence.num_inliers * min(item[1].evidence.triangulation_angle_deg, 15.0))
    for (i, j), two_view in usable:
        assert two_view.b_from_a is not None
        # The keyword names are scrambled in pycolmap 4.2: positions hold.
        mapper.register_initial_image_pair(options, i + 1, j + 1, geometry.to_rigid3d(two_view.b_from_a))
        for image_id in (i + 1, j + 1):
            mapper.triangulate_image(triangulation, image_id)
        if model.num_points3D() >= MIN_POINTS:
            return True
        counted = mapper.observation_manager  # which the mapper trusts: the model itself would not tell it
        for image_id in (i + 1, j + 1):
            counted.deregister_frame(model.image(image_id).frame_id)
        for point_id in list(model.point3D_ids()):
            counted.delete_point3D(point_id)
    return False


def _grow(
    mapper: pycolmap.IncrementalMapper,
    options: pycolmap.IncrementalMapperOptions,
    triangulation: pycolmap.IncrementalTriangulatorOptions,
) -> None:
    progress = True
    while progress:
        progress = False
        for image_id in mapper.find_next_images(options, False):
            if mapper.register_next_image(options, image_id):
                mapper.triangulate_image(triangulation, image_id)
                progress = True
                break


def _as_the_network_saw(features: Features, intrinsics: Intrinsics) -> tuple[Features, Intrinsics]:
    """Key points and camera of the picture shrunk to the size in which the network saw it."""
    shrink = agreement.TOLERANCE_NETWORK_PX / agreement.tolerance_px((intrinsics.width_px, intrinsics.height_px))
    if shrink == 1.0:
        return features, intrinsics
    size_px = round(shrink * intrinsics.width_px), round(shrink * intrinsics.height_px)
    camera = intrinsics.scaled(size_px, (shrink, shrink))
    return replace(features, keypoints_px=shrink * features.keypoints_px, size_px=size_px), camera


def _database_cache(
    path: Path,
    pictures: Sequence[tuple[Features, Intrinsics]],
    edges: Mapping[tuple[int, int], tuple[Matches, TwoView]],
    camera_numbers: Sequence[int],
) -> pycolmap.DatabaseCache:
    import pycolmap

    with pycolmap.Database.open(path) as database, pycolmap.DatabaseTransaction(database):
        written = set()
        for index, ((features, camera), camera_id) in enumerate(zip(pictures, camera_numbers, strict=True)):
            image_id = index + 1
            if camera_id not in written:
                written.add(camera_id)
                database.write_camera(geometry.to_colmap_camera(camera, camera_id), use_camera_id=True)
                rig = pycolmap.Rig(rig_id=camera_id)
                rig.add_ref_sensor(pycolmap.sensor_t(pycolmap.SensorType.CAMERA, camera_id))
                database.write_rig(rig, use_rig_id=True)
            image = pycolmap.Image(name=str(index), camera_id=camera_id, image_id=image_id)
            frame = pycolmap.Frame(frame_id=image_id, rig_id=camera_id)
            frame.add_data_id(image.data_id)
            database.write_frame(frame, use_frame_id=True)
            image.frame_id = image_id
            database.write_image(image, use_image_id=True)
            database.write_keypoints(image_id, features.keypoints_px.astype(np.float32))
        for (i, j), (matches, two_view) in edges.items():
            stored = pycolmap.TwoViewGeometry()
            stored.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
            stored.inlier_matches = _thinned(matches, two_view)
            database.write_two_view_geometry(i + 1, j + 1, stored)
    with pycolmap.Database.open(path) as database:
        return pycolmap.DatabaseCache.create(database, pycolmap.DatabaseCacheOptions(min_num_matches=MIN_POINTS))


def _thinned(matches: Matches, two_view: TwoView) -> IndexArray:
    """The MAX_MATCHES most confident inliers."""
    best = np.argsort(-matches.scores[two_view.inliers], kind="stable")[:MAX_MATCHES]
    return matches.indices[two_view.inliers[np.sort(best)]]
