"""Cameras of many parameters that few photos do not determine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from base_models import NAMES, SIFT, Base
from geometry_scenes import worst_error_deg
from interpose_sfm import geometry
from interpose_sfm.colmap import steady_cameras
from interpose_sfm.colmap.known_model import store_cameras
from interpose_sfm.colmap.reconstruction import registered_names
from interpose_sfm.options import CallerOptions
from interpose_sfm.products import KnownView

OPTIONS = CallerOptions(num_threads=1, pipeline={"mapper": {"abs_pose_max_error": 10.0}})
TRUTH = dict(zip(NAMES, SIFT.cam_from_world, strict=True))


@pytest.fixture
def guessed(base: Base) -> Base:
    """The views through FULL_OPENCV cameras whose distortion starts at zero, as it is."""
    camera = pycolmap.Camera.create_from_model_name(1, "FULL_OPENCV", 700.0, 800, 600)
    view = KnownView(geometry.from_colmap_camera(camera, is_trusted=True), SIFT.cam_from_world[0])
    store_cameras(base.database_path, {NAMES[0]: view})
    return base


def with_camera(model: pycolmap.Reconstruction, names: Sequence[str], extra: float) -> pycolmap.Reconstruction:
    """Some photos of a model, through a camera with one large coefficient."""
    part = pycolmap.Reconstruction(model)
    for image in list(part.images.values()):
        if image.name not in names and image.has_pose:
            part.deregister_frame(image.frame_id)
    camera = part.camera(1)
    camera.model = pycolmap.CameraModelId.FULL_OPENCV
    camera.params = np.array([700.0, 700.0, 400.0, 300.0, extra, *[0.0] * 7])
    return part


@pytest.mark.parametrize(
    ("num_photos", "extra", "is_nonsense"), [(3, 8.0, True), (3, 0.2, False), (4, 8.0, False), (2, -8.0, True)]
)
def test_nonsense_is_what_colmap_calls_bogus_of_few_photos(
    base: Base, num_photos: int, extra: float, is_nonsense: bool
) -> None:
    model = with_camera(base.model, NAMES[:num_photos], extra)
    assert steady_cameras.has_nonsense([model], OPTIONS) == is_nonsense
    as_they_are = CallerOptions(num_threads=1, pipeline={"ba_refine_extra_params": False})
    assert not steady_cameras.has_nonsense([model], as_they_are)  # the caller wants them so


def test_distortion_is_held_and_all_else_is_the_callers(guessed: Base, tmp_path: Path) -> None:
    plain = [with_camera(guessed.model, NAMES[:3], 8.0)]
    names = NAMES[:4]
    found = steady_cameras.mapped_again(plain, names, guessed.database_path, tmp_path, tmp_path / "a", OPTIONS, 0)
    assert found is not None
    assert registered_names(found[0]) == frozenset(names)
    assert worst_error_deg(found[0], TRUTH, names) < 0.5
    assert not found[0].camera(1).params[4:].any()
    assert found[0].camera(1).params[0] != 700.0  # refined
    assert steady_cameras.held(OPTIONS).pipeline["mapper"]["abs_pose_max_error"] == 10.0


def test_models_that_would_lose_a_photo_are_none(guessed: Base, tmp_path: Path) -> None:
    plain = [with_camera(guessed.model, NAMES[:3], 8.0)]
    names = NAMES[1:4]
    assert (
        steady_cameras.mapped_again(plain, names, guessed.database_path, tmp_path, tmp_path / "a", OPTIONS, 0) is None
    )


def test_distortion_is_refined_at_last_where_photos_determine_it(guessed: Base, tmp_path: Path) -> None:
    four = with_camera(guessed.model, NAMES[:4], 0.0)
    assert steady_cameras.refined(four, OPTIONS) is four  # eight coefficients would be nonsense of four photos, too
    camera = four.camera(1)
    camera.model, camera.params = pycolmap.CameraModelId.OPENCV, np.array([700.0, 700.0, 400.0, 300.0, *[0.0] * 4])
    refined = steady_cameras.refined(four, OPTIONS)
    assert 0 < np.abs(refined.camera(1).params[4:]).max() < 0.2
    assert not four.camera(1).params[4:].any()
    assert worst_error_deg(refined, TRUTH, NAMES[:4]) < 0.5
    few = with_camera(guessed.model, NAMES[:3], 0.0)
    few.camera(1).model, few.camera(1).params = pycolmap.CameraModelId.OPENCV, camera.params
    assert steady_cameras.refined(few, OPTIONS) is few


def test_cameras_that_the_caller_holds_are_never_refined(guessed: Base) -> None:
    four = with_camera(guessed.model, NAMES[:4], 0.0)
    camera = four.camera(1)
    camera.model, camera.params = pycolmap.CameraModelId.OPENCV, np.array([700.0, 700.0, 400.0, 300.0, *[0.0] * 4])
    held = CallerOptions(num_threads=1, pipeline={"constant_cameras": {1}})
    assert list(steady_cameras.refined(four, held).camera(1).params) == list(camera.params)
