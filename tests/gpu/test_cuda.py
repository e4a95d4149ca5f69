"""Every stage that has a network, on CUDA beside the CPU: at tiny size, but for ALIKED and LightGlue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny_da3
import tiny_dust3r
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.options import GenerationOptions, MatchingOptions, NetworkDtype
from interpose_sfm.pose.da3.network import Da3Network
from interpose_sfm.pose.dust3r import network as dust3r_network
from interpose_sfm.pose.dust3r import network_code as dust3r_code
from interpose_sfm.pose.dust3r.inference import CachedInference
from interpose_sfm.pose.dust3r.network import Dust3rNetwork
from interpose_sfm.products import Intrinsics
from interpose_sfm.synthetic import RenderOptions, Scene, Viewpoint, orbit, render
from interpose_sfm.video_models.diffusion import create_model
from interpose_sfm.video_models.protocol import ClipTask

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]
FAMILIES = ("wan-flf2v", "wan2.2", "wan-vace", "wan2.2-vace", "ltx", "ltx2", "ltx2.5", "framepack", "skyreels")


@pytest.fixture(autouse=True)
def exact_products() -> Any:
    """Without TF32, whose products have ten bits."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_matching_finds_what_it_finds_on_the_cpu() -> None:
    camera = Intrinsics(400, 300, 360.0, 200.0, 150.0)
    target = (-4.0, -1.0, 1.8)
    poses = orbit(Viewpoint(-22, 11, 2.0, target), Viewpoint(-8, 11, 2.6, target), 2)
    scene = Scene.courtyard(0, texels_per_m=48)
    images = [render(scene, camera, pose, RenderOptions(supersampling=1)).image for pose in poses]
    pairs = []
    for device in ("cpu", DEVICE):
        matcher = LearnedMatcher(MatchingOptions(device=device, max_keypoints=512))
        a, b = (matcher.extract(image) for image in images)
        found = matcher.match(a, b)
        sure = found.indices[found.scores > 0.5]
        pairs.append((a.keypoints_px[sure[:, 0]], b.keypoints_px[sure[:, 1]]))
    (cpu_a, cpu_b), (cuda_a, cuda_b) = pairs
    assert len(cpu_a) > 50
    distances_px = np.hypot(*(np.linalg.norm(x[:, None] - y, axis=2) for x, y in ((cpu_a, cuda_a), (cpu_b, cuda_b))))
    assert np.mean(distances_px.min(axis=1) < 0.5) > 0.95


def test_pairs_that_are_matched_together_find_what_they_find_alone() -> None:
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (240, 320, 3), np.uint8)]
    images += [np.roll(images[0], shift, axis=1) for shift in (20, 60)]
    matcher = LearnedMatcher(MatchingOptions(device=DEVICE, max_keypoints=512))
    a, b, c = (matcher.extract(image) for image in images)
    pairs = [(a, b), (a, c.chosen(np.arange(200))), (b, c)]
    for found, (one, other) in zip(matcher.match_all(pairs), pairs, strict=True):
        alone = matcher.match(one, other)
        sure = [{tuple(row) for row in x.indices[x.scores > 0.5].tolist()} for x in (found, alone)]
        assert len(sure[1]) > 30
        assert len(sure[0] ^ sure[1]) <= 0.05 * len(sure[1])  # attention is in half precision there


@tiny_da3.needs_code
@pytest.mark.parametrize(("dtype", "tolerance"), [(NetworkDtype.FLOAT32, 1e-3), (NetworkDtype.BFLOAT16, 0.1)])
def test_da3_answers_as_on_the_cpu(dtype: NetworkDtype, tolerance: float) -> None:
    images = tiny_da3.pictures(3)
    on_cpu = Da3Network(tiny_da3.tiny_module(), "tiny").guess(images)
    on_cuda = Da3Network(tiny_da3.tiny_module(), "tiny", DEVICE, dtype).guess(images)
    assert on_cpu is not None
    assert on_cuda is not None
    np.testing.assert_allclose(on_cuda.depths, on_cpu.depths, rtol=tolerance, atol=tolerance)
    for found, expected in zip(on_cuda.cam_from_first, on_cpu.cam_from_first, strict=True):
        np.testing.assert_allclose(found.rotation, expected.rotation, atol=tolerance)


@tiny_dust3r.needs_code
@pytest.mark.parametrize("pairs", [[("0", "1"), ("1", "0")], [("0", "1"), ("0", "2"), ("2", "0"), ("1", "2")]])
def test_dust3r_answers_as_on_the_cpu(pairs: list[tuple[str, str]]) -> None:
    """The pair alone, and pairs of three views of which each is encoded once."""
    views = tiny_dust3r.pictures([(96, 128)] * 3)
    answers = []
    for device in ("cpu", DEVICE):
        torch.manual_seed(0)
        module = dust3r_network.build_module(dust3r_code.find_network_code(), tiny_dust3r.TINY)
        inference = CachedInference(Dust3rNetwork(module, "tiny", device), 128)
        inference.compute(views, pairs)
        answers.append([inference.point_maps(pair).points_j_in_i for pair in pairs])
    np.testing.assert_allclose(answers[1], answers[0], rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_video_models_make_clips_in_bfloat16(name: str, tiny_checkpoint: Callable[..., Path]) -> None:
    options = GenerationOptions(video_dtype=NetworkDtype.BFLOAT16, video_steps=2, video_frames=5, video_long_side_px=96)
    model = create_model(f"diffusers:{tiny_checkpoint(name)}", options, DEVICE)
    wanted = model.format_for((400, 300))
    pictures = np.random.default_rng(0).integers(0, 256, (3, wanted.height_px, wanted.width_px, 3), np.uint8)
    task = ClipTask(key="key", first=pictures[0], last=pictures[1], prompt="a scene", seed=0, format=wanted)
    clips = [np.stack(model.make(each, None).frames) for each in (task, replace(task, last=pictures[2]))]  # type: ignore[arg-type]
    assert clips[0].shape == (wanted.num_frames, wanted.height_px, wanted.width_px, 3)
    assert np.abs(clips[0].astype(int) - clips[1]).max() >= 2
    model.close()
