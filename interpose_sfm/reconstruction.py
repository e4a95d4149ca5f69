"""pycolmap's mapper: base models, and their continuation once links are in the database."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interpose_sfm import geometry
from interpose_sfm._native import load_whole
from interpose_sfm.options import BaseOptions, CallerOptions
from interpose_sfm.products import FloatArray, Intrinsics, Pose

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

REPLACED = "replaced_by_interpose_sfm"
"""Attribute by which a stand-in for ``pycolmap.incremental_mapping`` gives the original away."""


def mapper_options(options: BaseOptions, seed: int) -> pycolmap.IncrementalPipelineOptions:
    """COLMAP's own defaults, or a caller's, but for the model size, which would drop small collections."""
    import pycolmap

    values = dict(options.pipeline) if isinstance(options, CallerOptions) else {}
    given = {"num_threads": options.num_threads, "random_seed": seed, **values}
    return pycolmap.IncrementalPipelineOptions({**given, "min_model_size": options.min_model_size})


def incremental_mapping(*args: Any, **kwargs: Any) -> dict[int, pycolmap.Reconstruction]:
    """``pycolmap.incremental_mapping`` itself, also while `interpose_sfm.installed` has put the hook in its place."""
    import pycolmap

    mapping: Any = pycolmap.incremental_mapping
    found: dict[int, pycolmap.Reconstruction] = getattr(mapping, REPLACED, mapping)(*args, **kwargs)
    return found


def map_base(
    database_path: Path,
    image_dir: Path,
    output_dir: Path,
    options: BaseOptions,
    seed: int,
    on_image: Callable[[], None] | None = None,
) -> list[pycolmap.Reconstruction]:
    """Plain incremental mapping; models in ``output_dir``/0, 1, ..., largest first.

    Returns an empty list where COLMAP finds no initial pair.
    """

    def tell() -> None:
        if on_image is not None:
            on_image()

    found = incremental_mapping(
        database_path,
        image_dir,
        output_dir,
        mapper_options(options, seed),
        initial_image_pair_callback=tell,
        next_image_callback=tell,
    )
    return sort_models(found.values(), options.min_model_size)


def sort_models(models: Iterable[pycolmap.Reconstruction], min_size: int) -> list[pycolmap.Reconstruction]:
    """Models of at least ``min_size`` photos, largest first; ties by number of points."""
    kept = [model for model in models if model.num_reg_images() >= min_size]
    return sorted(kept, key=lambda model: (-model.num_reg_images(), -model.num_points3D()))


def read_models(folder: Path, min_size: int) -> list[pycolmap.Reconstruction]:
    """Models in ``folder``/0, 1, ..., largest first."""
    import pycolmap

    folders = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: int(path.name))
    return sort_models([pycolmap.Reconstruction(path) for path in folders], min_size)


def registered_names(model: pycolmap.Reconstruction) -> frozenset[str]:
    """Names of the photos that have a pose."""
    return frozenset(image.name for image in model.images.values() if image.has_pose)


def poses(model: pycolmap.Reconstruction) -> dict[str, Pose]:
    """cam_from_world of every registered photo."""
    return {i.name: geometry.from_rigid3d(i.cam_from_world()) for i in model.images.values() if i.has_pose}


def model_cameras(model: pycolmap.Reconstruction) -> dict[str, Intrinsics]:
    """Camera of every registered photo, as refined by the model."""
    return {
        image.name: intrinsics_of(model.camera(image.camera_id), is_trusted=True)
        for image in model.images.values()
        if image.has_pose
    }


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


def triangulate(
    model: pycolmap.Reconstruction,
    database_path: Path,
    image_dir: Path,
    work_dir: Path,
    options: BaseOptions,
    seed: int,
) -> pycolmap.Reconstruction:
    """Triangulate what a database has gained since a model was made; the poses stay where they are.

    Args:
        model: A model of the same database before it gained key points, or with all of them.
        work_dir: A folder for what pycolmap writes, created here.
    """
    import pycolmap

    work_dir.mkdir(parents=True)
    return pycolmap.triangulate_points(
        with_database_keypoints(model, database_path),
        database_path,
        image_dir,
        work_dir,
        clear_points=False,
        options=mapper_options(options, seed),
    )


def continue_model(
    model: pycolmap.Reconstruction,
    database_path: Path,
    image_dir: Path,
    work_dir: Path,
    options: BaseOptions,
    seed: int,
) -> pycolmap.Reconstruction:
    """Register further photos into a model of :func:`triangulate`, and adjust everything; COLMAP's mapper goes on.

    Args:
        work_dir: A folder for the models before and after, created here.
    """
    input_dir, output_dir = work_dir / "input", work_dir / "output"
    for folder in (input_dir, output_dir):
        folder.mkdir(parents=True)
    model.write(input_dir)
    found = incremental_mapping(
        database_path, image_dir, output_dir, mapper_options(options, seed), input_path=input_dir
    )
    return max(found.values(), key=lambda grown: grown.num_reg_images(), default=model)


def with_database_keypoints(model: pycolmap.Reconstruction, database_path: Path) -> pycolmap.Reconstruction:
    """A copy of a model whose photos have all key points that the database has by now.

    COLMAP refuses to continue a model whose photos have fewer key points than the database.
    """
    import pycolmap

    with pycolmap.Database.open(database_path) as database:
        keypoints: dict[int, FloatArray] = {
            image_id: np.asarray(database.read_keypoints(image_id), np.float64) for image_id in model.images
        }
    extended = pycolmap.Reconstruction()
    for camera in model.cameras.values():
        extended.add_camera(camera)
    for rig in model.rigs.values():
        extended.add_rig(rig)
    for frame in model.frames.values():
        detached = copy.copy(frame)
        detached.reset_rig_ptr()
        extended.add_frame(detached)
    for image_id, image in model.images.items():
        longer = pycolmap.Image(
            name=image.name,
            camera_id=image.camera_id,
            image_id=image_id,
            keypoints=keypoints[image_id][:, :2] if len(keypoints[image_id]) else np.zeros((0, 2)),
        )
        longer.frame_id = image.frame_id
        extended.add_image(longer)
    for point_id, point in model.points3D.items():
        extended.add_point3D_with_id(point_id, point)
    return extended


def list_photos(model: pycolmap.Reconstruction, names: Sequence[str], database_path: Path) -> None:
    """Add photos to a model as ones without a pose, with all their key points, where it does not list them yet.

    COLMAP's models list the photos that they register only.

    Raises:
        ValueError: A photo that the database does not hold.
    """
    import pycolmap

    listed = {image.name for image in model.images.values()}
    with pycolmap.Database.open(database_path) as database:
        for name in names:
            if name in listed:
                continue
            stored = database.read_image_with_name(name)
            if stored is None:
                raise ValueError(f"got photo {name!r}, expected one that {database_path} holds")
            frame = database.read_frame(stored.frame_id)
            if not model.exists_camera(stored.camera_id):
                model.add_camera(database.read_camera(stored.camera_id))
            if not model.exists_rig(frame.rig_id):
                model.add_rig(database.read_rig(frame.rig_id))
            model.add_frame(frame)
            keypoints = np.asarray(database.read_keypoints(stored.image_id), np.float64)
            image = pycolmap.Image(
                name=name,
                camera_id=stored.camera_id,
                image_id=stored.image_id,
                keypoints=keypoints[:, :2] if len(keypoints) else np.zeros((0, 2)),
            )
            image.frame_id = stored.frame_id
            model.add_image(image)


def map_remaining(
    names: Sequence[str],
    database_path: Path,
    image_dir: Path,
    output_dir: Path,
    options: BaseOptions,
    seed: int,
) -> list[pycolmap.Reconstruction]:
    """Models of some of the photos only, largest first."""
    pipeline = mapper_options(options, seed)
    pipeline.image_names = list(names)
    output_dir.mkdir(parents=True, exist_ok=True)
    found = incremental_mapping(database_path, image_dir, output_dir, pipeline)
    return sort_models(found.values(), options.min_model_size)


def thinly_held(model: pycolmap.Reconstruction, min_points: int, min_size: int) -> frozenset[str]:
    """Photos that see fewer points of a model than ``min_points``; none if hardly any others would be left."""
    held = {image.name: image.num_points3D for image in model.images.values() if image.has_pose}
    thin = frozenset(name for name, count in held.items() if count < min_points)
    return thin if len(held) - len(thin) >= min_size else frozenset()


def remove_photos(model: pycolmap.Reconstruction, names: Collection[str]) -> None:
    """Take photos out of a model, with their observations."""
    for image in [image for image in model.images.values() if image.has_pose and image.name in names]:
        model.deregister_frame(image.frame_id)


def drop_covered(models: Sequence[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
    """The models, largest first, without those whose photos all are in one that is kept."""
    kept: list[pycolmap.Reconstruction] = []
    for model in sorted(models, key=lambda m: (-m.num_reg_images(), -m.num_points3D())):
        if not any(registered_names(model) <= registered_names(other) for other in kept):
            kept.append(model)
    return kept


def largest_change_deg(before: pycolmap.Reconstruction, after: pycolmap.Reconstruction) -> float:
    """Largest change of the rotation between any two photos of a model; 180 if one is missing after."""
    old, new = poses(before), poses(after)
    if not old.keys() <= new.keys():
        return 180.0
    turns = np.array([new[name].rotation.T @ old[name].rotation for name in sorted(old)])
    return float(np.max(geometry.rotation_angle_deg(turns[:, None] @ np.swapaxes(turns, 1, 2)[None])))


def write_models(models: Sequence[pycolmap.Reconstruction], output_dir: Path) -> tuple[Path, ...]:
    """Write models as ``output_dir``/0, 1, ... in COLMAP's binary format."""
    folders = []
    for index, model in enumerate(models):
        folder = output_dir / str(index)
        folder.mkdir(parents=True)
        model.write(folder)
        folders.append(folder)
    return tuple(folders)


def write_point_cloud(model: pycolmap.Reconstruction, path: Path) -> int:
    """Write the points of a model as PLY, cleaned of outliers by open3d; returns how many are left.

    A point is an outlier if its mean distance to its 16 nearest neighbours lies two sigma above the average.
    """
    open3d = load_whole("open3d")
    points = list(model.points3D.values())
    cloud = open3d.geometry.PointCloud()
    cloud.points = open3d.utility.Vector3dVector(np.array([p.xyz for p in points], np.float64).reshape(-1, 3))
    cloud.colors = open3d.utility.Vector3dVector(np.array([p.color for p in points], np.float64).reshape(-1, 3) / 255)
    if len(points) > 16:
        cloud, _ = cloud.remove_statistical_outlier(nb_neighbors=16, std_ratio=2.0)
    if not open3d.io.write_point_cloud(path, cloud):
        raise OSError(f"cannot write {path}")
    return len(cloud.points)
