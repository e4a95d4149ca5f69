"""MapAnything's published classes at tiny size with random weights, from a checkout where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpose_sfm import geometry
from interpose_sfm.options import MapAnythingOptions, NetworkDtype
from interpose_sfm.pose.mapanything import architecture, checkout, network
from interpose_sfm.pose.mapanything.estimator import MapAnythingEstimator
from interpose_sfm.pose.mapanything.network import MapAnythingNetwork
from interpose_sfm.products import ImageArray, Intrinsics

TINY = architecture.Architecture("small", 1, 384, 6, 4, (0, 1), 16)
SHAPE = (84, 112)
CAMERA = Intrinsics(SHAPE[1], SHAPE[0], 130.0, 57.0, 41.0, is_trusted=True)
HAS_CODE = checkout.default_dir().is_dir() and not checkout.missing_requirements()
needs_code = pytest.mark.skipif(not HAS_CODE, reason="needs a checkout of MapAnything in third_party, and uniception")


def pictures(number: int, seed: int = 0) -> list[ImageArray]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, (*SHAPE, 3), np.uint8) for _ in range(number)]


@pytest.fixture(scope="module")
def module() -> Any:
    import torch

    torch.manual_seed(0)
    built = network.build_module(checkout.load(checkout.default_dir()), TINY)
    with torch.no_grad():  # random weights have all rays in one point
        for parameter in built.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return built


@needs_code
def test_the_published_classes_answer_with_cameras_and_depths(module: Any) -> None:
    tiny = MapAnythingNetwork(module, "tiny")
    guess = tiny.guess(pictures(3), [CAMERA, None, CAMERA])
    assert guess is not None
    assert guess.depths.shape == guess.confidences.shape == (3, *SHAPE)
    np.testing.assert_allclose(guess.cam_from_first[0].rotation, np.eye(3), atol=1e-6)
    assert all(geometry.is_rotation(pose.rotation) for pose in guess.cam_from_first)
    assert guess.cameras[0] is CAMERA
    assert guess.cameras[1].focal_px > 0
    again = tiny.guess(pictures(3), [CAMERA, None, CAMERA])
    assert again is not None
    np.testing.assert_array_equal(guess.depths, again.depths)


@needs_code
def test_known_cameras_reach_the_network(module: Any) -> None:
    """Each is told as rays of its own view; the network counts pixels from their centres, COLMAP from the corner."""
    rays = []
    hook = module.ray_dirs_encoder.register_forward_pre_hook(lambda _, given: rays.append(given[0].data.clone()))
    try:
        tiny = MapAnythingNetwork(module, "tiny")
        tiny.guess(pictures(2), [CAMERA, replace(CAMERA, focal_px=200.0)])
        told = rays[-1].numpy()  # (views, 3, h, w)
        tiny.guess(pictures(2), [None, None])
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
    import torch

    given: list[dict[str, Any]] = []

    class Recorder(torch.nn.Module):
        def infer(self, views: list[dict[str, Any]], **_: Any) -> list[dict[str, Any]]:
            given.extend(views)
            depth = torch.ones(1, *SHAPE, 1)
            answer = {"depth_z": depth, "conf": depth[..., 0], "intrinsics": 90 * torch.eye(3)[None]}
            return [{**answer, "camera_poses": torch.eye(4)[None]}] * len(views)

    camera = replace(CAMERA, model=model, distortion=distortion, aspect=aspect)
    guess = MapAnythingNetwork(Recorder(), "recorder").guess(pictures(2), [camera, None])
    assert guess is not None
    assert guess.cameras[0] is camera
    assert "intrinsics" not in given[1]
    assert ("intrinsics" in given[0]) is is_told
    if is_told:
        told = given[0]["intrinsics"][0].numpy()
        undistorted = geometry.to_colmap_camera(replace(camera, model="PINHOLE", distortion=()))
        expected = undistorted.calibration_matrix() - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
        np.testing.assert_allclose(told, expected, rtol=1e-6)


@needs_code
def test_poses_are_those_of_the_published_answer(module: Any) -> None:
    import torch

    tiny, images = MapAnythingNetwork(module, "tiny"), pictures(2)
    guess = tiny.guess(images, [None, None])
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
    import torch

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
