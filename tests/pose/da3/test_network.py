from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from interpose_sfm import geometry
from interpose_sfm.options import NetworkDtype
from interpose_sfm.pose.da3 import network, network_code
from interpose_sfm.pose.da3.architectures import PUBLISHED
from interpose_sfm.pose.da3.network import Da3Network
from interpose_sfm.pose.pictures import cut_alike
from interpose_sfm.pose.scenes import SceneGuess
from interpose_sfm.products import ImageArray
from interpose_sfm.registry import MissingDependencyError
from tiny_da3 import needs_code, pictures, tiny_module


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[ImageArray]], Any]:
    """The published preparation of pictures, which scales and crops: (k, 3, h, w). It imports what it does not need."""
    pytest.importorskip("cv2")
    if importlib.util.find_spec("imageio") is None:
        monkeypatch.setitem(sys.modules, "imageio", ModuleType("imageio"))
    from depth_anything_3.utils.io.input_processor import InputProcessor

    options = {"process_res": 112, "process_res_method": "upper_bound_crop", "sequential": True}
    return lambda images: InputProcessor()(list(images), **options)[0]


def guessed(number: int, **options: object) -> SceneGuess:
    guess = Da3Network(tiny_module(), "tiny", **options).guess(pictures(number))  # type: ignore[arg-type]
    assert guess is not None
    return guess


# ---------------------------------------------------------------- the same numbers as the published inference


@needs_code
@pytest.mark.parametrize("number", [2, 4])
def test_answers_equal_those_of_the_published_inference(
    prepare: Callable[[Sequence[ImageArray]], Any], number: int
) -> None:
    """From pictures to depths and cameras."""
    import torch

    images, module = pictures(number), tiny_module()
    with torch.inference_mode():
        theirs = module(prepare(images)[None])
    ours = guessed(number)
    np.testing.assert_allclose(ours.depths, theirs.depth[0].numpy(), rtol=1e-4)
    np.testing.assert_allclose(ours.confidences, theirs.depth_conf[0].numpy(), rtol=1e-4)
    assert np.std(ours.depths) > 1e-3
    matrices = theirs.extrinsics[0].numpy().astype(np.float64)
    for k, pose in enumerate(ours.cam_from_first):
        turned = matrices[k, :, :3] @ matrices[0, :, :3].T
        np.testing.assert_allclose(pose.rotation, turned, atol=1e-5)
        np.testing.assert_allclose(pose.translation, matrices[k, :, 3] - turned @ matrices[0, :, 3], atol=1e-5)
    assert geometry.rotation_angle_deg(ours.cam_from_first[1].rotation) > 1e-3
    focals = (theirs.intrinsics[0, :, 0, 0] * theirs.intrinsics[0, :, 1, 1]).sqrt().tolist()
    assert [camera.focal_px for camera in ours.cameras] == pytest.approx(focals, rel=1e-5)
    assert min(focals) < 500


@needs_code
@pytest.mark.parametrize("shape", [(600, 900), (900, 600), (40, 56), (480, 853)])
def test_pictures_are_those_of_the_published_inference(
    prepare: Callable[[Sequence[ImageArray]], Any], shape: tuple[int, int]
) -> None:
    """But for rounding: two libraries take the mean over an area."""
    noise = Image.fromarray(pictures(1, (shape[0] // 8, shape[1] // 8))[0])
    image = np.asarray(noise.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
    theirs = prepare([image])[0].numpy().transpose(1, 2, 0) * network.SIGMA_RGB + np.array(network.MEAN_RGB)
    (crop,) = cut_alike([image], 112)
    assert crop.image.shape == theirs.shape
    difference = np.abs(crop.image / 255.0 - theirs)
    assert np.mean(difference) < 0.02
    assert max(crop.shape) == 112
    assert crop.shape[0] % 14 == crop.shape[1] % 14 == 0


def test_pictures_of_all_shapes_are_cut_to_one() -> None:
    landscape, portrait = pictures(1, (300, 400))[0], pictures(1, (400, 300))[0]
    first, second = cut_alike([landscape, portrait], 112)
    assert first.shape == second.shape == (84, 84)
    for crop, image in ((first, landscape), (second, portrait)):
        middle = np.array([[image.shape[1] / 2, image.shape[0] / 2]])
        np.testing.assert_allclose(crop.to_crop(middle), [[42.0, 42.0]])
        np.testing.assert_allclose(crop.to_photo(crop.to_crop(middle)), middle)


def test_a_picture_that_is_too_elongated_is_refused() -> None:
    with pytest.raises(ValueError, match="got pictures of 2000 x 20 px, of which one side falls below 14 px"):
        cut_alike(pictures(1, (20, 2000)), 112)


@needs_code
def test_half_precision_is_near() -> None:
    exact, half = guessed(3), guessed(3, dtype=NetworkDtype.BFLOAT16)
    difference = np.abs(exact.depths - half.depths).max() / np.abs(exact.depths).max()
    assert 1e-6 < difference < 0.1


@needs_code
def test_an_answer_that_is_no_camera_is_none() -> None:
    import torch

    module = tiny_module()
    with torch.no_grad():
        for parameter in module.cam_dec.fc_qvec.parameters():
            parameter.zero_()
    assert Da3Network(module, "tiny").guess(pictures(2)) is None


# ---------------------------------------------------------------- the published sizes


@needs_code
@pytest.mark.parametrize(("size", "num_bytes"), [("small", 137_197_852), pytest.param("base", 541_466_396)])
def test_published_sizes_have_the_weights_of_the_published_files(size: str, num_bytes: int) -> None:
    """437 tensors, of as many bytes as the file has without its header."""
    module = network.build_module(network_code.load_network_code(), PUBLISHED[size].architecture)
    parameters = list(module.parameters())
    assert len(parameters) == 437
    assert sum(4 * p.numel() for p in parameters) == num_bytes
    assert 0 < PUBLISHED[size].num_bytes - num_bytes < 60_000


# ---------------------------------------------------------------- finding the code


@needs_code
def test_loading_the_classes_makes_no_eval_known_and_prints_nothing() -> None:
    code = (
        "import sys; path = list(sys.path); from interpose_sfm.pose.da3 import network, network_code as n;"
        "from interpose_sfm.pose.da3.architectures import PUBLISHED;"
        "network.build_module(n.load_network_code(), PUBLISHED['small'].architecture);"
        "from omegaconf import OmegaConf;"
        "assert not OmegaConf.has_resolver('eval'); assert 'depth_anything_3.cfg' not in sys.modules;"
        "assert 'depth_anything_3.api' not in sys.modules; assert path == sys.path;"
        "from depth_anything_3.cfg import load_config"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_code
def test_the_network_takes_no_descriptions() -> None:
    code = network_code.load_network_code()
    with pytest.raises(ValueError, match="expected a network that is built already"):
        code.network(net={"__object__": {"path": "os", "name": "system"}}, head=None)


def test_missing_code_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "depth_anything_3", None)
    assert network_code.missing_requirements()["depth_anything_3"] == network_code.INSTALL_COMMAND
    with pytest.raises(MissingDependencyError, match="pip install --no-deps depth-anything-3"):
        network_code.load_network_code()
