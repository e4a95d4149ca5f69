"""COLMAP's own matches mapped once more, with the limits lifted that keep sparse photos out, and what is kept of it.

COLMAP starts a model from two photos with a wide angle and little forward motion, and ignores points that only two
photos see. Sparse collections have few others: in a street all motion is forward. With these limits lifted more is
registered, and more goes wrong. So the result is kept only where nothing speaks against it and nothing is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm.colmap import databases, photo_audit, reconstruction
from interpose_sfm.colmap.constants import FOCAL_RANGE, MIN_VERIFIED_MATCHES
from interpose_sfm.colmap.photo_audit import PhotoSupport
from interpose_sfm.products import ImagePair, connected_components

if TYPE_CHECKING:
    import pycolmap

MAX_FORWARD_MOTION = 1.0  # COLMAP has 0.95
MIN_START_ANGLE_DEG = 4.0  # COLMAP has 16, and halves it twice by itself where it finds no start

MIN_SHARED = 3
"""Photos that a camera of unknown focal length must have: small angles leave the focal length of a single photo and the
depths undetermined together, and no residual shows it."""

MIN_POINTS = 30  # as many as COLMAP asks for to register one photo; a model of fewer is none
MAX_TURN_DEG = 5.0  # of the photos that two models have in common, among each other


def lift(options: pycolmap.IncrementalPipelineOptions) -> pycolmap.IncrementalPipelineOptions:
    """The options with their limits lifted, in place; a caller's own that are wider stay."""
    mapper = options.mapper
    mapper.init_max_forward_motion = max(MAX_FORWARD_MOTION, mapper.init_max_forward_motion)
    mapper.init_min_tri_angle = min(MIN_START_ANGLE_DEG, mapper.init_min_tri_angle)
    options.triangulation.ignore_two_view_tracks = False
    return options


def are_cameras_held(database_path: Path, names: Collection[str]) -> bool:
    """Whether the focal length of every photo is known, or found by several photos together."""
    cameras = {name: camera for name, camera in databases.stored_cameras(database_path).items() if name in names}
    num_photos = Counter(camera.camera_id for camera in cameras.values())
    return all(
        camera.has_prior_focal_length or num_photos[camera.camera_id] >= MIN_SHARED for camera in cameras.values()
    )


def within_reach(database_path: Path, names: Collection[str]) -> tuple[frozenset[str], ...]:
    """What models could have at most: no limit lets COLMAP register a photo without a verified pair.

    Returns:
        Photos that verified pairs connect, each in one set; those without any are in none.
    """
    import pycolmap

    with pycolmap.Database.open(database_path) as database:
        name_of = {image.image_id: image.name for image in database.read_all_images() if image.name in names}
        pairs = [ids for ids, count in databases.num_verified(database).items() if count >= MIN_VERIFIED_MATCHES]
    linked = [ImagePair.sorted(name_of[a], name_of[b]) for a, b in pairs if a in name_of and b in name_of]
    return tuple(frozenset(group) for group in connected_components(names, linked) if len(group) > 1)


# ---------------------------------------------------------------- which model is kept


@dataclass(frozen=True)
class JudgedModel:
    """A model with what speaks against it.

    Attributes:
        model: With the photos that are refuted.
        refuted: Photos that its matches refute.
        fault: Why nothing of it is believed; empty where there is no reason.
    """

    model: pycolmap.Reconstruction
    refuted: Mapping[str, PhotoSupport]
    fault: str

    @property
    def is_sound(self) -> bool:
        """Whether nothing at all speaks against it."""
        return not self.refuted and not self.fault

    @property
    def num_sound(self) -> int:
        """Photos that nothing speaks against."""
        return 0 if self.fault else self.model.num_reg_images() - len(self.refuted)


def judge(model: pycolmap.Reconstruction, database_path: Path, agree_px: float = photo_audit.AGREE_PX) -> JudgedModel:
    """What speaks against a model; ``agree_px`` as in `photo_audit`."""
    fault = _fault(model, databases.stored_cameras(database_path))
    return JudgedModel(model, photo_audit.refuted_photos(database_path, model, agree_px), fault)


def _fault(model: pycolmap.Reconstruction, stored: Mapping[str, pycolmap.Camera]) -> str:
    if model.num_points3D() < MIN_POINTS:
        return f"it has {model.num_points3D()} points"
    ratios = []
    for image in model.images.values():
        if image.has_pose:
            known, camera = stored[image.name], model.camera(image.camera_id)
            side_px = max(known.width, known.height)
            expected_px = known.mean_focal_length() if known.has_prior_focal_length else side_px
            ratios.append((camera.mean_focal_length() / expected_px, known.has_prior_focal_length))
    worst, is_known = max(ratios, key=lambda found: abs(np.log(found[0])), default=(1.0, False))
    if FOCAL_RANGE[0] <= worst <= FOCAL_RANGE[1]:
        return ""
    if is_known:  # a right model shows that, too, where EXIF is of another camera
        return f"its focal lengths reach {worst:.2g} times what EXIF or a calibration says, unless that is wrong"
    return f"its focal lengths reach {worst:.2g} times the longer side"


def chosen(base: Sequence[JudgedModel], candidates: Sequence[JudgedModel]) -> list[pycolmap.Reconstruction] | None:
    """The models to go on with, largest first, if the largest candidate may take the place of the largest base model.

    Args:
        base: What plain mapping made, largest first.
        candidates: What mapping with lifted limits made, largest first.

    Returns:
        The largest candidate, and of the other models those that nothing speaks against and that hold other photos;
        None where the base is to be kept.
    """
    believed = [candidate for candidate in candidates if candidate.is_sound]
    if not believed or not _is_gain(base, believed[0]):
        return None
    others = [other.model for other in [*base, *believed[1:]] if other.is_sound]
    return reconstruction.drop_covered([believed[0].model, *others])


def _is_gain(base: Sequence[JudgedModel], candidate: JudgedModel) -> bool:
    """More photos that nothing refutes in one model, and what the base had is where it was.

    A base model that is refuted has no say. Of the others the largest must be held as a whole.
    """
    if candidate.num_sound <= max((model.num_sound for model in base), default=0):
        return False
    names = reconstruction.registered_names(candidate.model)
    for index, before in enumerate(base):
        if not before.is_sound:
            continue
        common = reconstruction.registered_names(before.model) & names
        if index == 0 and len(common) < before.model.num_reg_images():
            return False
        if common and reconstruction.largest_change_deg(before.model, candidate.model, common) > MAX_TURN_DEG:
            return False
    return True
