"""Which photos share a camera, the COLMAP database that says so, and what models made of the cameras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap import databases
from interpose_sfm.options import CameraMode
from interpose_sfm.products import Intrinsics, Photo, PhotoSet

if TYPE_CHECKING:
    import pycolmap

_GUESSED_FOCAL_FACTOR = 1.2  # COLMAP's default_focal_length_factor


def camera_groups(photos: Sequence[Photo], mode: CameraMode) -> tuple[tuple[str, ...], ...]:
    """Which photos share one camera.

    AUTO takes photos for those of one camera that agree in all that is known: make, model, size, focal length. So
    photos of equal size without EXIF data share one, unlike with COLMAP's AUTO; PER_IMAGE keeps them apart.

    Returns:
        Names of each group in name order; groups in the order of their first names.

    Raises:
        ValueError: the photos of a group (SINGLE, PER_FOLDER) differ in size.
    """

    def key(photo: Photo) -> object:
        if mode is CameraMode.SINGLE:
            return None
        if mode is CameraMode.PER_FOLDER:
            return PurePosixPath(photo.name).parent
        if mode is CameraMode.PER_IMAGE:
            return photo.name
        focal = None if photo.focal_px is None else round(photo.focal_px, 3)
        return photo.make, photo.model, photo.width_px, photo.height_px, focal

    groups: dict[object, list[Photo]] = {}
    for photo in sorted(photos, key=lambda photo: photo.name):
        group = groups.setdefault(key(photo), [])
        group.append(photo)
        first = group[0]
        if (first.width_px, first.height_px) != (photo.width_px, photo.height_px):
            raise ValueError(
                f"camera mode {mode} needs photos of equal size, got {first.name} with {first.width_px} x "
                f"{first.height_px} px and {photo.name} with {photo.width_px} x {photo.height_px} px; "
                f"use camera mode {CameraMode.AUTO}"
            )
    return tuple(tuple(photo.name for photo in group) for group in groups.values())


def check_camera(model: str, params: str) -> None:
    """Look at a camera model and its parameters, as users name them.

    Args:
        model: COLMAP's name.
        params: In COLMAP's order, separated by commas; empty for none.

    Raises:
        ValueError: An unknown model, one without a projection, or other parameters than it has.
    """
    import pycolmap

    unusable = {"INVALID", "EQUIRECTANGULAR"}  # a panorama is cut into views first
    names = [name for name in pycolmap.CameraModelId.__members__ if name not in unusable]
    if model not in names:
        raise ValueError(f"camera-model must be one of {', '.join(names)}, got {model}")
    camera = pycolmap.Camera.create_from_model_name(0, model, 1.0, 1, 1)
    numbers = _numbers(params)
    if params and len(numbers) != len(camera.params):
        raise ValueError(
            f"camera-params of {model} must be {len(camera.params)} numbers, {camera.params_info}, separated by "
            f"commas; got {params}"
        )
    if params and not (np.isfinite(numbers).all() and min(numbers[i] for i in camera.focal_length_idxs()) > 0):
        raise ValueError(f"camera-params must be finite numbers, with focal lengths above 0, got {params}")


def import_cameras(
    database_path: Path,
    photo_set: PhotoSet,
    mode: CameraMode,
    model: str = "SIMPLE_RADIAL",
    params: str = "",
    *,
    is_fixed: bool = False,
) -> None:
    """Make a COLMAP database with all photos and their cameras, ready for ``pycolmap.extract_features``.

    There is a camera for each of `camera_groups`, each in a rig of its own as COLMAP wants it. The focal length is the
    given one or the first that EXIF gives in the group, marked as a prior, else COLMAP's guess of 1.2 times the longer
    side. Image ids count from 1 in name order; those of ``pycolmap.extract_features`` alone depend on its threads. GPS
    positions with an altitude become pose priors, as COLMAP stores them.

    Args:
        database_path: Made.
        photo_set: The photos.
        mode: Which of them share a camera.
        model, params: Of all cameras, as of `check_camera`.
        is_fixed: Whether all focal lengths count as priors, since nothing is to refine them.

    Photos whose cameras are known have those, and share them with the other photos of their group if they agree on one.

    Raises:
        ValueError: the database has images already, the mode does not suit the photos, or photos of several sizes are
            given one calibration.
    """
    import pycolmap

    groups = checked_groups(photo_set, mode, params)
    photos = {photo.name: photo for photo in photo_set.photos}
    with pycolmap.Database.open(database_path) as database:
        if database.num_images() or database.num_cameras():
            raise ValueError(f"expected a new database, got {database_path} with {database.num_images()} images")
        with pycolmap.DatabaseTransaction(database):
            camera_ids, rig_ids = {}, {}
            for names in groups:
                known = next((photo_set.known[name].camera for name in names if name in photo_set.known), None)
                camera = _initial_camera([photos[name] for name in names], model, params, known)
                camera.has_prior_focal_length |= is_fixed
                camera.camera_id = database.write_camera(camera)
                rig = pycolmap.Rig()
                rig.add_ref_sensor(camera.sensor_id)
                rig_ids[camera.camera_id] = database.write_rig(rig)
                camera_ids.update(dict.fromkeys(names, camera.camera_id))
            for name in sorted(photos):
                image = pycolmap.Image(name=name, camera_id=camera_ids[name])
                image.image_id = database.write_image(image)
                frame = pycolmap.Frame()
                frame.rig_id = rig_ids[camera_ids[name]]
                frame.add_data_id(image.data_id)
                database.write_frame(frame)
    write_pose_priors(database_path, photo_set)


def checked_groups(photo_set: PhotoSet, mode: CameraMode, params: str = "") -> tuple[tuple[str, ...], ...]:
    """Which photos share a camera, see `camera_groups`.

    Raises:
        ValueError: See `import_cameras`.
    """
    sizes = sorted({(photo.width_px, photo.height_px) for photo in photo_set.photos})
    if params and len(sizes) > 1:
        told = ", ".join(f"{width} x {height}" for width, height in sizes[:3])
        raise ValueError(
            f"camera-params are for photos of one size, got {told} px; reconstruct the photos of each camera by "
            "themselves, or leave camera-params out"
        )
    groups = camera_groups(photo_set.photos, mode)
    return tuple(part for names in groups for part in _by_known_camera(names, photo_set))


def _by_known_camera(names: tuple[str, ...], photo_set: PhotoSet) -> Iterator[tuple[str, ...]]:
    """The photos of a group; where several cameras are known of them, those of each, and those of none."""
    cameras = {name: photo_set.known[name].camera for name in names if name in photo_set.known}
    if len(set(cameras.values())) < 2:
        yield names
        return
    for camera in dict.fromkeys(map(cameras.get, names)):
        yield tuple(name for name in names if cameras.get(name) == camera)


def write_pose_priors(database_path: Path, photo_set: PhotoSet) -> None:
    """Let a database of ours have the photos' GPS positions as pose priors, in the place of those that it has.

    COLMAP has none without an altitude.
    """
    import pycolmap

    wgs84 = pycolmap.PosePriorCoordinateSystem.WGS84
    with pycolmap.Database.open(database_path) as database, pycolmap.DatabaseTransaction(database):
        database.clear_pose_priors()
        for photo in photo_set.photos:
            image = database.read_image_with_name(photo.name)
            if image is not None and photo.gps is not None and photo.gps.altitude_m is not None:
                place = photo.gps.latitude_deg, photo.gps.longitude_deg, photo.gps.altitude_m
                database.write_pose_prior(
                    pycolmap.PosePrior(position=place, coordinate_system=wgs84, corr_data_id=image.data_id)
                )


def known_focal_lengths(photo_set: PhotoSet, params: str, source: Path | None) -> frozenset[str]:
    """Photos whose focal length is known before mapping: by a database that was handed in, by parameters or by EXIF."""
    if source is not None:
        return databases.names_with_priors(source)
    names = (photo.name for photo in photo_set.photos if params or photo.focal_px is not None)
    return frozenset(names) | photo_set.known.keys()


def refined_cameras(database_path: Path, models: Sequence[pycolmap.Reconstruction]) -> dict[str, Intrinsics]:
    """Camera of every photo of a database: as refined by the first model that registers a photo with it.

    Cameras that no model has are as in the database.
    """
    cameras, camera_ids = databases.cameras(database_path), databases.camera_ids(database_path)
    for model in reversed(models):
        registered = {image.camera_id for image in model.images.values() if image.has_pose}
        refined = {id_: geometry.from_colmap_camera(model.camera(id_), is_trusted=True) for id_ in registered}
        cameras.update({name: refined[id_] for name, id_ in camera_ids.items() if id_ in refined})
    return cameras


def _numbers(params: str) -> list[float]:
    """Numbers separated by commas; none where one of them is no number."""
    try:
        return [float(number) for number in params.split(",")]
    except ValueError:
        return []


def _initial_camera(
    photos: Sequence[Photo], model: str, params: str, known: Intrinsics | None = None
) -> pycolmap.Camera:
    """The camera of a group of photos: known, or with given parameters, EXIF's first focal length or COLMAP's guess."""
    import pycolmap

    if known is not None:
        return geometry.to_colmap_camera(known)
    width, height = photos[0].width_px, photos[0].height_px
    focal = next((photo.focal_px for photo in photos if photo.focal_px is not None), None)
    guess = _GUESSED_FOCAL_FACTOR * max(width, height)
    camera = pycolmap.Camera.create_from_model_name(0, model, focal or guess, width, height)
    if params:
        camera.params = _numbers(params)
    camera.has_prior_focal_length = bool(params) or focal is not None
    return camera
