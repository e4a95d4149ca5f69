"""Known poses as the start of a run: which photos they are of, and the base models that go on from them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from interpose_sfm.colmap import incremental_mapper, known_model, reconstruction
from interpose_sfm.colmap.known_poses import KnownPoses
from interpose_sfm.options import Mapper, ReconstructOptions
from interpose_sfm.products import FloatArray, Intrinsics, KnownView, Photo, PhotoSet, Pose

MIN_KNOWN = 2  # photos: one pose has neither a unit nor points

_SAME_SHAPE = 0.01  # by which two ratios of sizes may differ: scaled pictures have whole pixels


def check_options(options: ReconstructOptions) -> None:
    """Refuse what would move known poses.

    Raises:
        ValueError: One of the options does.
    """
    for is_set, option in (
        (options.base.mapper is Mapper.GLOBAL, "mapper global, which goes on from no poses"),
        (options.base.split_lookalikes, "split-lookalikes, which maps all photos again"),
        (options.georegister, "georegister, which moves the models"),
    ):
        if is_set:
            raise ValueError(f"known-poses stay as they are handed in: leave them out, or {option}")


# ---------------------------------------------------------------- which photos


def known_views(known: KnownPoses, photo_dir: Path, photo_set: PhotoSet) -> tuple[dict[str, KnownView], str]:
    """What is known of photos, by the names of their images, with cameras for their sizes; and what is to be told.

    Photos are found by their path below the photo folder, else by a file name that one photo has.

    Raises:
        ValueError: Fewer than two are found, one is named twice, a name fits several, or a camera is of another shape.
    """
    by_path = {name: photo for photo in photo_set.photos for name in (photo.name, photo.source) if name}
    by_name = defaultdict(set)
    for path, photo in by_path.items():
        by_name[PurePosixPath(path).name].add(photo.name)
    photos = {photo.name: photo for photo in photo_set.photos}
    found: dict[str, KnownView] = {}
    written_as: dict[str, str] = {}
    missing = []
    for written, view in known.views:
        path = _below(written, known.folder, photo_dir)
        named = {by_path[path].name} if path in by_path else by_name.get(PurePosixPath(path).name, set())
        if len(named) > 1:
            raise ValueError(
                f"{known.path}: {written} may be any of {', '.join(sorted(named))}; expected paths below {photo_dir}"
            )
        if not named:
            missing.append(written)
            continue
        (name,) = named
        if name in found:
            both = f"{written_as[name]} and {written}"
            raise ValueError(f"{known.path}: {both} are both {name}; expected one pose a photo")
        found[name], written_as[name] = replace(view, camera=_fitted(view.camera, photos[name])), written
    if len(found) < MIN_KNOWN:
        example = f", such as {missing[0]}" if missing else ""
        raise ValueError(
            f"{known.path} has poses of {len(known.views)} photos{example}, of which {len(found)} are in {photo_dir}; "
            f"expected {MIN_KNOWN} or more, with names such as {_an_example(photo_set)}"
        )
    if not _has_baseline([view.cam_from_world for view in found.values()]):
        raise ValueError(f"{known.path}: all known poses are at one place, so that nothing can be triangulated")
    if not missing:
        return found, ""
    return found, f"{len(missing)} of {len(known.views)} names in {known.path} are no photo, such as {missing[0]}"


def _below(written: str, folder: Path | None, photo_dir: Path) -> str:
    """A name as it is written as a POSIX path below the photo folder, where it leads there; else as it is."""
    if folder is not None:
        path, root = os.path.abspath(folder / written), os.path.abspath(photo_dir)
        if path.startswith(root + os.sep):
            return Path(path).relative_to(root).as_posix()
    return PurePosixPath(written).as_posix()


def _fitted(camera: Intrinsics, photo: Photo) -> Intrinsics:
    """The camera for the photo's size, which may be another one of its shape."""
    size = photo.width_px, photo.height_px
    if (camera.width_px, camera.height_px) == size:
        return camera
    along_x, along_y = size[0] / camera.width_px, size[1] / camera.height_px
    if abs(along_x / along_y - 1) > _SAME_SHAPE:
        is_turned = (camera.width_px, camera.height_px) == size[::-1]
        remedy = "; --keep-orientation takes photos as their files store them" if is_turned else ""
        raise ValueError(
            f"{photo.name} has {size[0]} x {size[1]} px upright, its known camera {camera.width_px} x "
            f"{camera.height_px}{remedy}"
        )
    return camera.scaled(size, (along_x, along_y))


def _has_baseline(poses: Sequence[Pose]) -> bool:
    centers: list[FloatArray] = [pose.inverse().translation for pose in poses]
    return any(bool((center != centers[0]).any()) for center in centers)


def _an_example(photo_set: PhotoSet) -> str:
    return next((photo.source or photo.name for photo in photo_set.photos), "a.jpg")


# ---------------------------------------------------------------- base models


def map_from(
    poses: Mapping[str, Pose],
    names: Sequence[str],
    database_path: Path,
    image_dir: Path,
    folder: Path,
    work_dir: Path,
    options: ReconstructOptions,
    tell: Callable[[], None],
) -> None:
    """Base models: the known one, to which COLMAP adds what it can, as ``folder``/0, and those of the other photos.

    Args:
        poses: cam_from_world of the known photos; they stay.
        names: All photos.
        database_path: Holds COLMAP's verified matches.
        image_dir: The photos.
        folder: Gets the models.
        work_dir: For temporary things.
        options: Of the run.
        tell: Called before the known model and behind it.
    """
    base, seed = options.base, options.seed
    tell()
    start = incremental_mapper.triangulate(
        known_model.known_model(database_path, poses), database_path, image_dir, work_dir / "known", base, seed
    )
    grown = incremental_mapper.continue_model(
        start, database_path, image_dir, work_dir / "known_grown", base, seed, held=poses
    )
    tell()
    left = sorted(set(names) - reconstruction.registered_names(grown))
    others = []
    if len(left) >= base.min_model_size:
        others = incremental_mapper.map_remaining(left, database_path, image_dir, work_dir / "known_others", base, seed)
    reconstruction.write_models([grown, *others], folder)
