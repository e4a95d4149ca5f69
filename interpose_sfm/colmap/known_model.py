"""The model of photos whose cameras and poses are known: COLMAP's verified matches triangulated, nothing moved."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap import databases, photo_audit, reconstruction
from interpose_sfm.colmap.transforms_json import OPENCV_FROM_OPENGL
from interpose_sfm.products import FloatArray, Intrinsics, KnownView, Pose

if TYPE_CHECKING:
    import pycolmap


def store_cameras(database_path: Path, views: Mapping[str, KnownView]) -> None:
    """Let the cameras of photos in a database of ours be those that are known; their focal lengths count as priors.

    Raises:
        ValueError: Photos that share a camera in the database have several.
    """
    import pycolmap

    camera_ids = databases.camera_ids(database_path)
    known: dict[int, tuple[str, Intrinsics]] = {}
    for name in sorted(views):
        first, camera = known.setdefault(camera_ids[name], (name, views[name].camera))
        if views[name].camera != camera:
            raise ValueError(
                f"{first} and {name} share a camera in the database, and have different ones by known-poses; hand in "
                "poses with the cameras of the database, or leave the database out"
            )
    with pycolmap.Database.open(database_path) as database:
        for camera_id, (_, camera) in known.items():
            database.update_camera(geometry.to_colmap_camera(camera, camera_id))


def known_model(database_path: Path, poses: Mapping[str, Pose]) -> pycolmap.Reconstruction:
    """The photos at their poses, without points, ready to be triangulated.

    Args:
        database_path: Holds the photos with their cameras and key points.
        poses: cam_from_world.
    """
    import pycolmap

    return reconstruction.with_photos(pycolmap.Reconstruction(), poses, database_path)


def hold(pipeline: pycolmap.IncrementalPipelineOptions, model: pycolmap.Reconstruction, names: Collection[str]) -> None:
    """Let COLMAP's mapper neither move the photos of the model that it goes on from, nor refine the cameras of some.

    Args:
        pipeline: Changed in place.
        model: What the mapper goes on from, which keeps all its poses.
        names: Photos whose cameras are known.
    """
    pipeline.fix_existing_frames = True
    pipeline.constant_cameras = set(pipeline.constant_cameras) | {
        image.camera_id for image in model.images.values() if image.name in names
    }
    pipeline.load_all_images = True  # the mapper cannot go on from photos without matches otherwise


def put_back(model: pycolmap.Reconstruction, poses: Mapping[str, Pose], database_path: Path) -> pycolmap.Reconstruction:
    """A model in the frame and unit of known poses, which its photos have again exactly; none of them is missing.

    COLMAP's mapper moves and scales what it writes as a whole.

    Args:
        model: It has most of the photos; not changed.
        poses: cam_from_world of the known photos.
        database_path: Holds what the model lacks of them.
    """
    import pycolmap

    now = reconstruction.poses(model)
    common = sorted(now.keys() & poses.keys())
    moved = pycolmap.Reconstruction(model)
    if common:
        change = _known_from_model([now[name] for name in common], [poses[name] for name in common])
        rotation = pycolmap.Rotation3d(change.rotation)
        moved.transform(pycolmap.Sim3d(change.scale, rotation, change.translation))
    for name in common:
        image = moved.find_image_with_name(name)
        moved.frame(image.frame_id).set_cam_from_world(image.camera_id, geometry.to_rigid3d(poses[name]))
    return reconstruction.with_photos(moved, poses, database_path)


def _known_from_model(now: list[Pose], known: list[Pose]) -> geometry.Similarity:
    """The similarity that takes some poses to others, which differ by nothing else."""
    rotation = geometry.mean_rotation([k.rotation.T @ n.rotation for n, k in zip(now, known, strict=True)])
    centers_now, centers_known = (_centers(poses) for poses in (now, known))
    spread_now, spread_known = (float(np.linalg.norm(c - c.mean(axis=0))) for c in (centers_now, centers_known))
    scale = spread_known / spread_now if spread_now > 0 and spread_known > 0 else 1.0
    translation = centers_known.mean(axis=0) - scale * rotation @ centers_now.mean(axis=0)
    return geometry.Similarity(scale, rotation, translation)


def _centers(poses: list[Pose]) -> FloatArray:
    return np.array([pose.inverse().translation for pose in poses])


# ---------------------------------------------------------------- what the matches say of known poses


UPSIDE_DOWN = Pose(np.diag([-1.0, -1.0, 1.0]), np.zeros(3))
"""Axes of a camera whose picture is turned by 180 degrees."""


def doubt(poses: Mapping[str, Pose], database_path: Path, turned: Collection[str] = ()) -> str:
    """What COLMAP's matches say against known poses, in a sentence; empty if nothing, or if there are none.

    Args:
        poses: cam_from_world.
        database_path: Holds the cameras and the matches.
        turned: Photos that were made upright by a turn of 180 degrees, after which nobody sees by its size that a pose
            is that of the picture in the file.

    Raises:
        ValueError: They fit the poses once turned photos are as their files store them, or once the axes of the cameras
            are turned round, from OpenGL's to OpenCV's.
    """
    upside_down = sorted(poses.keys() & set(turned))
    if upside_down and not _fit(poses, database_path, upside_down):
        as_stored = {name: UPSIDE_DOWN @ pose if name in upside_down else pose for name, pose in poses.items()}
        if _fit(as_stored, database_path, upside_down):
            raise ValueError(
                f"the matches of {len(upside_down)} photos, such as {upside_down[0]}, fit the known poses only if the "
                "pictures stay upside down, as their files store them; --keep-orientation takes them so"
            )
    if _fit(poses, database_path):
        return ""
    flip = Pose(OPENCV_FROM_OPENGL, np.zeros(3))
    if _fit({name: flip @ pose for name, pose in poses.items()}, database_path):
        raise ValueError(
            "the photos' matches fit the known poses only if y and z of every camera are turned round: the file mixes "
            "OpenGL's axes (y up, looking along -z: transforms.json) with OpenCV's (y down, looking along z: COLMAP's "
            "models); multiply the second and third column of each transform_matrix by -1"
        )
    return "most matches of their photos speak against the known poses; they are kept as they were handed in"


def _fit(poses: Mapping[str, Pose], database_path: Path, names: Collection[str] | None = None) -> bool:
    """Whether the matches of some photos, by default of all, do not speak against poses, all taken together."""
    supports = photo_audit.photo_supports(database_path, known_model(database_path, poses))
    counted = [support for name, support in supports.items() if names is None or name in names]
    total = photo_audit.PhotoSupport(sum(s.num_agreeing for s in counted), sum(s.num_verified for s in counted))
    return not total.is_refuted
