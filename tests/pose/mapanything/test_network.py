"""MapAnything's published classes at tiny size with random weights, from a checkout where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interpose_sfm import geometry
from interpose_sfm.options import MapAnythingOptions, NetworkDtype
from interpose_sfm.pose.mapanything import architecture, checkout, network
from interpose_sfm.pose.mapanything.estimator import MapAnythingEstimator
from interpose_sfm.pose.mapanything.network import MapAnythingNetwork
from interpose_sfm.pose.point_maps.crops import Crop
from interpose_sfm.pose.scenes import Told
from interpose_sfm.products import DepthSamples, ImageArray, Intrinsics, Placement, Pose, View

TINY = architecture.Architecture("small", 1, 384, 6, 4, (0, 1), 16)
SHAPE = (84, 112)
CAMERA = Intrinsics(SHAPE[1], SHAPE[0], 130.0, 57.0, 41.0, is_trusted=True)
HAS_CODE = checkout.default_dir().is_dir() and not checkout.missing_requirements()
needs_code = pytest.mark.skipif(not HAS_CODE, reason="needs a checkout of MapAnything in third_party, and uniception")


def pictures(number: int, seed: int = 0) -> list[ImageArray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, (*SHAPE, 3), np.uint8) for _ in range(number)]


def cameras(*known: Intrinsics | None) -> list[Told]:
    return [Told(camera) for camera in known]


class Recorder(torch.nn.Module):
    """Stands where the published class stands, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[dict[str, Any]] = []

    def infer(self, views: list[dict[str, Any]], **_: Any) -> list[dict[str, Any]]:
        self.given = views
        depth = torch.ones(1, *SHAPE, 1)
        answer = {"depth_z": depth, "conf": depth[..., 0], "intrinsics": 90 * torch.eye(3)[None]}
        return [{**answer, "camera_poses": torch.eye(4)[None]}] * len(views)


@pytest.fixture(scope="module")
def module() -> Any:
    torch.manual_seed(0)
    built = network.build_module(checkout.load(checkout.default_dir()), TINY)
    with torch.no_grad():  # random weights have all rays in one point
        for parameter in built.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return built


@needs_code
def test_the_published_classes_answer_with_cameras_and_depths(module: Any) -> None:
    tiny = MapAnythingNetwork(module, "tiny")
    guess = tiny.guess(pictures(3), cameras(CAMERA, None, CAMERA))
    assert guess is not None
    assert guess.depths.shape == guess.confidences.shape == (3, *SHAPE)
    np.testing.assert_allclose(guess.cam_from_first[0].rotation, np.eye(3), atol=1e-6)
    assert all(geometry.is_rotation(pose.rotation) for pose in guess.cam_from_first)
    assert guess.cameras[0] is CAMERA
    assert guess.cameras[1].focal_px > 0
    again = tiny.guess(pictures(3), cameras(CAMERA, None, CAMERA))
    assert again is not None
    np.testing.assert_array_equal(guess.depths, again.depths)


@needs_code
def test_known_cameras_reach_the_network(module: Any) -> None:
    """Each is told as rays of its own view; the network counts pixels from their centres, COLMAP from the corner."""
    rays = []
    hook = module.ray_dirs_encoder.register_forward_pre_hook(lambda _, given: rays.append(given[0].data.clone()))
    try:
        tiny = MapAnythingNetwork(module, "tiny")
        tiny.guess(pictures(2), cameras(CAMERA, replace(CAMERA, focal_px=200.0)))
        told = rays[-1].numpy()  # (views, 3, h, w)
        tiny.guess(pictures(2), cameras(None, None))
    finally:
        hook.remove()
    assert all(not np.any(given.numpy()) for given in rays[1:])  # nothing is told of cameras that nobody knows
    y, x = 30, 70
    for view, focal_px in enumerate((130.0, 200.0)):
        expected = geometry.unit_vectors(np.array([(x + 0.5 - 57.0) / focal_px, (y + 0.5 - 41.0) / focal_px, 1.0]))
        np.testing.assert_allclose(told[view, :, y, x], expected, atol=1e-5)


@pytest.mark.parametrize(("model", "distortion", "aspect", "is_told"), [
    ("SIMPLE_RADIAL", (0.0,), 1.0, True),
    ("SIMPLE_RADIAL", (-0.02,), 1.0, True),
    ("PINHOLE", (), 1.1, True),
    ("SIMPLE_RADIAL", (-0.2,), 1.0, False),
    ("OPENCV", (-0.25, 0.05, 0.0, 0.0), 1.0, False),
    ("OPENCV_FISHEYE", (0.0,) * 4, 1.0, False),
    ("EQUIRECTANGULAR", (), 1.0, False),
])  # fmt: skip
def test_only_pinholes_are_told_to_the_network(
    model: str, distortion: tuple[float, ...], aspect: float, is_told: bool
) -> None:
    recorder = Recorder()
    camera = replace(CAMERA, model=model, distortion=distortion, aspect=aspect)
    guess = MapAnythingNetwork(recorder, "recorder").guess(pictures(2), cameras(camera, None))
    given = recorder.given
    assert guess is not None
    assert guess.cameras[0] is camera
    assert "intrinsics" not in given[1]
    assert ("intrinsics" in given[0]) is is_told
    if is_told:
        told = given[0]["intrinsics"][0].numpy()
        undistorted = geometry.to_colmap_camera(replace(camera, model="PINHOLE", distortion=()))
        expected = undistorted.calibration_matrix() - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
        np.testing.assert_allclose(told, expected, rtol=1e-6)


# ---------------------------------------------------------------- what base models know

SPOTS_PX = np.array([[10.9, 20.2], [100.5, 83.9], [10.1, 20.8]])  # the first and the last in one pixel
DEPTHS = np.array([2.0, 8.0, 6.0])


def placed(number: int, model: int = 0, unit: float = 3.0) -> Placement:
    """A photo somewhere in a model, whose frame is turned and whose unit is any."""
    pose = Pose(geometry.rotation_exp([0.1 * number, 0.3, -0.2]), unit * np.array([0.5 * number, 0.1, 2.0]))
    return Placement(model, pose, DepthSamples(SPOTS_PX, DEPTHS))


def given_names(*told: Told) -> list[set[str]]:
    """What of the pictures reaches the published code, besides the pictures themselves."""
    recorder = Recorder()
    MapAnythingNetwork(recorder, "recorder").guess(pictures(len(told)), told)
    return [set(view) - {"img", "data_norm_type"} for view in recorder.given]


def test_known_poses_and_depths_are_told_by_the_rules_of_the_published_code() -> None:
    everything = {"intrinsics", "depth_z", "camera_poses", "is_metric_scale"}
    assert given_names(Told(), Told()) == [set(), set()]
    assert given_names(*(Told(CAMERA, placed(number)) for number in range(2))) == [everything, everything]
    # Poses are of one frame, which is that of the first picture: of another model depths are told alone.
    sides = [Told(CAMERA, placed(0)), Told(CAMERA, placed(1)), Told(CAMERA, placed(2, model=1)), Told(CAMERA)]
    assert given_names(*sides) == [everything, everything, everything - {"camera_poses"}, {"intrinsics"}]
    # One pose says nothing, and without a first one there is no frame.
    assert given_names(Told(CAMERA, placed(0)), Told(CAMERA, placed(1, model=1))) == [everything - {"camera_poses"}] * 2
    assert given_names(Told(CAMERA), Told(CAMERA, placed(1)), Told(CAMERA, placed(2)))[1] == everything - {
        "camera_poses"
    }
    # Depths need a camera, and one that is a pinhole.
    bent = replace(CAMERA, model="SIMPLE_RADIAL", distortion=(-0.2,))
    assert (
        given_names(*(Told(camera, placed(0)) for camera in (None, bent))) == [{"camera_poses", "is_metric_scale"}] * 2
    )
    # A model without points, as of photos that links alone hold.
    assert "depth_z" not in given_names(Told(CAMERA, replace(placed(0), depths=DepthSamples())), Told())[0]


def test_known_poses_are_told_as_world_from_cam_and_of_depths_in_a_pixel_the_nearest() -> None:
    recorder = Recorder()
    MapAnythingNetwork(recorder, "recorder").guess(pictures(2), [Told(CAMERA, placed(number)) for number in range(2)])
    for number, view in enumerate(recorder.given):
        pose = placed(number).cam_from_model
        matrix, depths = view["camera_poses"][0].numpy(), view["depth_z"][0].numpy()
        np.testing.assert_allclose(pose.rotation @ matrix[:3, 3] + pose.translation, 0.0, atol=1e-5)  # the centre
        np.testing.assert_allclose(matrix[:3, :3], pose.rotation.T, atol=1e-6)
        assert {(int(y), int(x)): depths[y, x] for y, x in np.argwhere(depths)} == {(20, 10): 2.0, (83, 100): 8.0}


@needs_code
def test_known_poses_reach_the_network_in_the_frame_of_the_first_picture(module: Any) -> None:
    turned, moved = [], []
    hooks = [
        encoder.register_forward_pre_hook(lambda _, given, kept=kept: kept.append(given[0].data.clone().numpy()))
        for encoder, kept in ((module.cam_rot_encoder, turned), (module.cam_trans_encoder, moved))
    ]
    told = [Told(CAMERA, placed(0)), Told(CAMERA, placed(3)), Told(CAMERA), Told(CAMERA, placed(5, model=1))]
    try:
        MapAnythingNetwork(module, "tiny").guess(pictures(4), told)
    finally:
        for hook in hooks:
            hook.remove()
    poses = [each.cam_from_model for each in (placed(0), placed(3))]
    first_from_second = geometry.relative_pose(poses[0], poses[1])
    quaternion = geometry.to_rigid3d(first_from_second).rotation.quat  # (x, y, z, w) in both
    np.testing.assert_allclose(np.abs(turned[0][1] @ quaternion), 1.0, atol=1e-5)
    direction = first_from_second.translation / np.linalg.norm(first_from_second.translation)
    np.testing.assert_allclose(moved[0][1] / np.linalg.norm(moved[0][1]), direction, atol=1e-4)
    for view in (0, 2, 3):  # the first one itself, and those that it is told no pose of
        np.testing.assert_allclose(np.abs(turned[0][view]), (0, 0, 0, 1), atol=1e-6)
        np.testing.assert_allclose(moved[0][view], 0.0, atol=1e-6)


@needs_code
def test_known_depths_reach_the_network_at_their_pixels(module: Any) -> None:
    seen = []
    hook = module.depth_encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].data.clone().numpy()))
    try:
        MapAnythingNetwork(module, "tiny").guess(pictures(2), [Told(CAMERA, placed(0)), Told(CAMERA)])
    finally:
        hook.remove()
    first, second = seen[0][:, 0]
    assert {tuple(spot) for spot in np.argwhere(first)} == {(20, 10), (83, 100)}
    assert not np.any(second)
    rays = geometry.pixel_to_ray(np.array([[10.5, 20.5], [100.5, 83.5]]), CAMERA)
    along = np.array([2.0, 8.0]) * np.linalg.norm(rays, axis=1)  # of two in a pixel the nearer one
    told = np.expm1(first[[20, 83], [10, 100]].astype(float))
    assert told[1] / told[0] == pytest.approx(along[1] / along[0], rel=1e-4)


@needs_code
def test_what_is_told_changes_the_answer_and_its_unit_does_not(module: Any) -> None:
    tiny, images = MapAnythingNetwork(module, "tiny"), pictures(3)
    answers = [
        tiny.guess(images, [Told(CAMERA, placed(number, unit=unit) if knows else None) for number in range(3)])
        for knows, unit in ((False, 3.0), (True, 3.0), (True, 30.0))
    ]
    places = [found.cam_from_first[2].translation for found in answers if found is not None]
    assert np.linalg.norm(places[1] - places[0]) > 1e-4 * np.linalg.norm(places[0])
    np.testing.assert_allclose(places[2], places[1], rtol=1e-3)


def test_what_is_known_of_a_view_is_told_in_the_pixels_of_its_crop() -> None:
    crop = Crop(np.zeros((84, 112, 3), np.uint8), (0.5, 0.5), (4.0, 2.0))
    view = View("", np.zeros((180, 240, 3), np.uint8), Intrinsics(240, 180, 300.0, 120.0, 90.0, is_trusted=True))
    assert Told.of(view, crop).placement is None
    told = Told.of(replace(view, placement=placed(0)), crop)
    assert told.placement is not None
    assert told.camera is not None
    assert told.camera.focal_px == pytest.approx(150.0)
    np.testing.assert_allclose(told.placement.depths.points_px, 0.5 * SPOTS_PX - (4.0, 2.0))
    np.testing.assert_array_equal(told.placement.depths.depths, DEPTHS)
    assert Told.of(replace(view, intrinsics=replace(view.intrinsics, is_trusted=False)), crop).camera is None


# ---------------------------------------------------------------- answers, weights, code


@needs_code
def test_poses_are_those_of_the_published_answer(module: Any) -> None:
    tiny, images = MapAnythingNetwork(module, "tiny"), pictures(2)
    guess = tiny.guess(images, cameras(None, None))
    assert guess is not None
    mean, sigma = (torch.tensor(rgb)[:, None, None] for rgb in (network.MEAN_RGB, network.SIGMA_RGB))
    views = [
        {
            "img": ((torch.from_numpy(image).permute(2, 0, 1) / 255.0 - mean) / sigma)[None],
            "data_norm_type": ["dinov2"],
        }
        for image in images
    ]
    with torch.inference_mode():
        said = module.infer(views, memory_efficient_inference=False, use_amp=False, apply_mask=False, mask_edges=False)
    world_from = [view["camera_poses"][0].numpy().astype(np.float64) for view in said]
    second_from_first = np.linalg.inv(world_from[1]) @ world_from[0]
    np.testing.assert_allclose(guess.cam_from_first[1].rotation, second_from_first[:3, :3], atol=1e-4)
    np.testing.assert_allclose(guess.cam_from_first[1].translation, second_from_first[:3, 3], atol=1e-4)
    np.testing.assert_allclose(guess.depths[1], said[1]["depth_z"][0, ..., 0].numpy(), rtol=1e-5)


@needs_code
def test_weights_must_fit_in_every_name_and_shape(module: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file, save_model

    path = tmp_path / "model.safetensors"
    save_model(module, str(path))
    network.load_into(network.build_module(checkout.load(checkout.default_dir()), TINY), path)
    tensors = load_file(path)
    tensors.pop("scale_token")
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"do not fit their network.*scale_token"):
        network.load_into(module, path)


@needs_code
def test_nothing_is_fetched_while_a_network_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr("torch.hub.load", refuse)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    code = checkout.load(checkout.default_dir())
    network.build_module(code, TINY)
    assert torch.hub.load is refuse
    with checkout.without_hub(code), pytest.raises(ValueError, match=r"somebody/else.*would be fetched"):
        torch.hub.load("somebody/else", "model")


@needs_code
def test_another_checkout_is_refused(tmp_path: Path) -> None:
    changed = shutil.copytree(checkout.default_dir(), tmp_path / "changed", ignore=shutil.ignore_patterns(".git"))
    (changed / "mapanything" / "__init__.py").write_text("import os\n")
    with pytest.raises(ValueError, match=r"are not those of commit f7ebafb"):
        checkout.check(changed)


def test_without_a_checkout_or_weights_it_is_said_what_to_do(tmp_path: Path, hub: Iterator[None]) -> None:
    with pytest.raises(ValueError, match=r"no checkout of MapAnything.*--mapanything-dir.*third_party/README.md"):
        checkout.check(tmp_path)
    assert not MapAnythingEstimator.has_weights(None)
    with pytest.raises(
        ValueError, match=r"Apache-2.0\) are not on this machine.*hf download facebook/map-anything-apache"
    ):
        network.load_network(MapAnythingOptions(mapanything_device="cpu"))
    pickle = tmp_path / "model.pth"
    pickle.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"expected a \.safetensors file"):
        network.load_network(MapAnythingOptions(mapanything_device="cpu", mapanything_weights=pickle))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_options_check_themselves() -> None:
    assert MapAnythingOptions().mapanything_dtype is NetworkDtype.FLOAT32
    with pytest.raises(ValueError, match="a multiple of 14"):
        MapAnythingOptions(mapanything_size_px=500)
