"""COLMAP models in memory and on disk: what they hold, how they change, and which of them are kept."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap.model_files import check_model
from interpose_sfm.failures import disk_full
from interpose_sfm.products import DepthSamples, FloatArray, Intrinsics, Placement, Pose

if TYPE_CHECKING:
    import pycolmap


def sort_models(
    models: Iterable[pycolmap.Reconstruction], min_size: int, given: Collection[str] = ()
) -> list[pycolmap.Reconstruction]:
    """Models of at least ``min_size`` photos or with a given one, largest first; ties by number of points."""
    kept = [m for m in models if m.num_reg_images() >= min_size or not registered_names(m).isdisjoint(given)]
    return sorted(kept, key=lambda model: (-model.num_reg_images(), -model.num_points3D()))


def read_models(folder: Path, min_size: int, given: Collection[str] = ()) -> list[pycolmap.Reconstruction]:
    """Models in ``folder``/0, 1, ..., as `sort_models` keeps them.

    Raises:
        ValueError: One of them is not whole; the message names the folder to delete.
    """
    folders = [path for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()]
    models = [read_model(path) for path in sorted(folders, key=lambda path: int(path.name))]
    return sort_models(models, min_size, given)


def read_model(folder: Path) -> pycolmap.Reconstruction:
    """One model.

    Raises:
        ValueError: It is not whole; the message names the folder to delete.
    """
    import pycolmap

    try:
        check_model(folder)
        return pycolmap.Reconstruction(folder)
    except (ValueError, LookupError, RuntimeError, OSError) as error:
        raise ValueError(
            f"the model {folder} cannot be read ({error}); delete {folder.parent} and run again"
        ) from error


def registered_names(model: pycolmap.Reconstruction) -> frozenset[str]:
    """Names of the photos that have a pose."""
    return frozenset(image.name for image in model.images.values() if image.has_pose)


def names_in_any(models: Iterable[pycolmap.Reconstruction]) -> frozenset[str]:
    """Names of the photos that have a pose in one of the models."""
    return frozenset().union(*map(registered_names, models))


def poses(model: pycolmap.Reconstruction) -> dict[str, Pose]:
    """cam_from_world of every registered photo."""
    return {i.name: geometry.from_rigid3d(i.cam_from_world()) for i in model.images.values() if i.has_pose}


def model_cameras(model: pycolmap.Reconstruction) -> dict[str, Intrinsics]:
    """Camera of every registered photo, as refined by the model."""
    return {
        image.name: geometry.from_colmap_camera(model.camera(image.camera_id), is_trusted=True)
        for image in model.images.values()
        if image.has_pose
    }


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


def with_photos(
    model: pycolmap.Reconstruction, cam_from_world: Mapping[str, Pose], database_path: Path
) -> pycolmap.Reconstruction:
    """A copy of a model with photos that it lacks, at these poses; their points are not triangulated yet.

    Raises:
        ValueError: A photo that the database does not hold.
    """
    extended = copy.deepcopy(model)
    added = sorted(cam_from_world.keys() - registered_names(model))
    list_photos(extended, added, database_path)
    for name in added:
        image = extended.find_image_with_name(name)
        frame = extended.frame(image.frame_id)
        frame.set_cam_from_world(image.camera_id, geometry.to_rigid3d(cam_from_world[name]))
        extended.register_frame(frame.frame_id)
    return extended


def thinly_held(model: pycolmap.Reconstruction, min_points: int) -> frozenset[str]:
    """Photos that see fewer points of a model than ``min_points``."""
    return frozenset(i.name for i in model.images.values() if i.has_pose and i.num_points3D < min_points)


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


def largest_change_deg(
    before: pycolmap.Reconstruction, after: pycolmap.Reconstruction, names: Collection[str] | None = None
) -> float:
    """Largest change of the rotation between any two photos (of ``names``) of a model; 180 if one is missing after."""
    old, new = poses(before), poses(after)
    asked = sorted(old if names is None else names)
    if not new.keys() >= set(asked):
        return 180.0
    turns = np.array([new[name].rotation.T @ old[name].rotation for name in asked])
    return float(np.max(geometry.rotation_angle_deg(turns[:, None] @ np.swapaxes(turns, 1, 2)[None])))


def write_models(models: Sequence[pycolmap.Reconstruction], output_dir: Path) -> tuple[Path, ...]:
    """Write models as ``output_dir``/0, 1, ... in COLMAP's binary format.

    Raises:
        OSError: They were not written whole, of which COLMAP itself says nothing.
    """
    folders = []
    for index, model in enumerate(models):
        folder = output_dir / str(index)
        folder.mkdir(parents=True)
        model.write(folder)
        check_written(folder)
        folders.append(folder)
    return tuple(folders)


def check_written(folder: Path) -> None:
    """See whether COLMAP has written a model whole: it says nothing of a disk that is full.

    Raises:
        OSError: It has not.
    """
    try:
        check_model(folder)
    except ValueError as error:
        raise disk_full(f"COLMAP has not written the model whole ({error})", folder) from error


def observed_depths(model: pycolmap.Reconstruction, name: str) -> tuple[FloatArray, FloatArray]:
    """(n, 2) key points of a photo that have a point in the model, and the (n,) depths of these."""
    image = model.find_image_with_name(name)
    points2D = [point for point in image.points2D if point.has_point3D()]
    x_in_world = np.array([model.point3D(point.point3D_id).xyz for point in points2D]).reshape(-1, 3)
    cam_from_world = geometry.from_rigid3d(image.cam_from_world())
    depths = x_in_world @ cam_from_world.rotation[2] + cam_from_world.translation[2]
    return np.array([point.xy for point in points2D]).reshape(-1, 2)[depths > 0], depths[depths > 0]


def placement(models: Sequence[pycolmap.Reconstruction], name: str) -> Placement | None:
    """Where the first of the models that has a photo has it; None where none has."""
    for number, model in enumerate(models):
        if name in registered_names(model):
            pose = geometry.from_rigid3d(model.find_image_with_name(name).cam_from_world())
            return Placement(number, pose, DepthSamples(*observed_depths(model, name)))
    return None
