"""Whether photos that share a camera of guessed focal length were taken with one focal length.

Without EXIF nothing tells photos of one zoom from those of another, so that photos of one size share a camera
(`cameras.camera_groups`). Where they were taken with several focal lengths, COLMAP puts the photos of the longer one
nearer to the scene instead: all are registered, with small errors, in wrong places. A camera for each photo, as by
COLMAP's own AUTO, shows that: adjusted with these, the errors fall far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap import databases
from interpose_sfm.colmap.reconstruction import registered_names

if TYPE_CHECKING:
    import pycolmap

MIN_PHOTOS = 3  # of one camera: two photos do not tell their focal length
MAX_ERROR_SHARE = 0.8
"""Of a photo's error with cameras apart / shared: 0.24 and 0.28 where every other one of six was zoomed to 1.3 and 1.15
times, 0.71 where one of six was, to 1.5 times; 0.99 to 1.00 for photos of one focal length, but down to 0.79 of few."""
MIN_FOCAL_RATIO = 1.1
"""Of the longest focal length to the shortest: less bends a pose by little. Photos of one focal length reach 1.47 where
three hardly tell it, but none of 26 models of such photos has both this and the error's fall."""
MAX_ITERATIONS = 50  # of the adjustment, which begins where a right model has its end


@dataclass(frozen=True)
class OwnFocals:
    """What became of the photos of one camera when each was given a camera of its own.

    Attributes:
        names: Photos of the camera in the model.
        focal_ratio: Longest focal length / shortest one.
        error_share: Mean reprojection error of a photo after / before, of the photo that gained most. A single photo
            that was zoomed hardly shows in the error of the whole model.
    """

    names: tuple[str, ...]
    focal_ratio: float
    error_share: float

    @property
    def are_several(self) -> bool:
        """Whether the photos were taken with several focal lengths."""
        return self.focal_ratio > MIN_FOCAL_RATIO and self.error_share < MAX_ERROR_SHARE


def guessed_together(database_path: Path) -> tuple[frozenset[str], ...]:
    """Photos of each camera that several photos share though nothing tells its focal length."""
    names: dict[int, set[str]] = {}
    for name, camera in databases.stored_cameras(database_path).items():
        if not camera.has_prior_focal_length:
            names.setdefault(camera.camera_id, set()).add(name)
    return tuple(frozenset(found) for _, found in sorted(names.items()) if len(found) >= MIN_PHOTOS)


def own_focals(model: pycolmap.Reconstruction, shared: Collection[frozenset[str]]) -> tuple[OwnFocals, ...]:
    """Adjust a copy of a model with a camera for each photo, and see what that does.

    Args:
        model: As COLMAP adjusted it.
        shared: Photos of each camera that is asked about.

    Returns:
        Of each such camera that enough photos of the model have.
    """
    import pycolmap

    groups = [sorted(names & registered_names(model)) for names in shared]
    groups = [names for names in groups if len(names) >= MIN_PHOTOS]
    if not groups or not model.num_points3D():
        return ()
    before_px = _errors_px(model)
    apart = _with_own_cameras(model)
    config = pycolmap.BundleAdjustmentConfig()
    for image_id in apart.images:
        config.add_image(image_id)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    options = pycolmap.BundleAdjustmentOptions(print_summary=False, refine_extra_params=False)
    options.ceres.solver_options.max_num_iterations = MAX_ITERATIONS
    pycolmap.create_default_bundle_adjuster(options, config, apart).solve()
    after_px = _errors_px(apart)
    found = []
    for names in groups:
        focal_px = [_focal_px(apart, name) for name in names]
        ratio = max(focal_px) / min(focal_px) if min(focal_px) > 0 else np.inf
        share = min(after_px[name] / max(before_px[name], 1e-9) for name in names)
        found.append(OwnFocals(tuple(names), float(ratio), float(share)))
    return tuple(found)


def _focal_px(model: pycolmap.Reconstruction, name: str) -> float:
    image = model.find_image_with_name(name)
    assert image is not None
    return float(model.camera(image.camera_id).mean_focal_length())


def _errors_px(model: pycolmap.Reconstruction) -> dict[str, float]:
    """Mean reprojection error of every registered photo; 0 of those without points."""
    errors_px = {}
    for image in model.images.values():
        if not image.has_pose:
            continue
        seen = image.get_observation_points2D()
        x_in_world = np.array([model.point3D(point.point3D_id).xyz for point in seen]).reshape(-1, 3)
        pose = geometry.from_rigid3d(image.cam_from_world())
        camera = model.camera(image.camera_id)
        projected_px = np.asarray(camera.img_from_cam(x_in_world @ pose.rotation.T + pose.translation))
        off_px = np.linalg.norm(projected_px - np.array([point.xy for point in seen]).reshape(-1, 2), axis=1)
        off_px = off_px[np.isfinite(off_px)]
        errors_px[image.name] = float(off_px.mean()) if len(off_px) else 0.0
    return errors_px


def _with_own_cameras(model: pycolmap.Reconstruction) -> pycolmap.Reconstruction:
    """A copy of a model in which every registered photo has a camera of its own."""
    import pycolmap

    apart = pycolmap.Reconstruction()
    for image_id, image in sorted(model.images.items()):
        if not image.has_pose:
            continue
        camera = pycolmap.Camera(model.camera(image.camera_id).todict())
        camera.camera_id = image_id
        apart.add_camera_with_trivial_rig(camera)
        points_px = np.array([point.xy for point in image.points2D]).reshape(-1, 2)
        copied = pycolmap.Image(name=image.name, camera_id=image_id, image_id=image_id, keypoints=points_px)
        apart.add_image_with_trivial_frame(copied, image.cam_from_world())
    for point in model.points3D.values():
        apart.add_point3D(point.xyz, point.track, point.color)
    return apart


def copy_with_own_cameras(source: Path, target: Path, names: Collection[str]) -> None:
    """Copy a database of ours, and give some photos in it a camera each, all that they share else staying as it is."""
    import pycolmap

    databases.copy_database(source, target)
    with pycolmap.Database.open(target) as database, pycolmap.DatabaseTransaction(database):
        num_left = Counter(image.camera_id for image in database.read_all_images())
        for image in sorted(database.read_all_images(), key=lambda image: image.name):
            if image.name not in names or num_left[image.camera_id] == 1:
                continue  # the last one keeps the camera that was shared
            num_left[image.camera_id] -= 1
            camera = database.read_camera(image.camera_id)
            camera.camera_id = database.write_camera(camera)
            rig = pycolmap.Rig()
            rig.add_ref_sensor(camera.sensor_id)
            frame = pycolmap.Frame(frame_id=image.frame_id, rig_id=database.write_rig(rig))
            image.camera_id = camera.camera_id
            frame.add_data_id(image.data_id)
            database.update_frame(frame)
            database.update_image(image)  # which wants its frame to know its camera
