from __future__ import annotations

import pytest

from interpose_sfm.pose.dust3r import network_code
from interpose_sfm.products import (
    View,
)
from interpose_sfm.synthetic import RenderOptions, Scene, render
from known_maps import CAMERA, POSES


@pytest.fixture(scope="module")
def code() -> network_code.NetworkCode:
    import torch

    torch.set_num_threads(1)
    return network_code.find_network_code()


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.courtyard(0, texels_per_m=16)


@pytest.fixture(scope="module")
def views(scene: Scene) -> list[View]:
    options = RenderOptions(supersampling=1)
    return [View(str(i), render(scene, CAMERA, pose, options).image, CAMERA) for i, pose in enumerate(POSES)]
