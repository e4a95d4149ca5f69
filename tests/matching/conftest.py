from __future__ import annotations

import numpy as np
import pytest

from facade_views import CAMERA, OPTIONS
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.products import Features, Matches, View
from interpose_sfm.storage.content_keys import image_key
from interpose_sfm.synthetic import RenderOptions, Scene, Viewpoint, orbit, render


@pytest.fixture(scope="module")
def views() -> list[tuple[View, np.ndarray]]:
    """Two views of a facade, ten degrees apart, each with the world position of every pixel."""
    target = (-4.0, -1.0, 1.8)
    scene = Scene.courtyard(0, texels_per_m=40)
    found = []
    for index, pose in enumerate(orbit(Viewpoint(-20, 10, 2.0, target), Viewpoint(-10, 10, 2.3, target), 2)):
        rendering = render(scene, CAMERA, pose, RenderOptions(noise_sigma=2.0, seed=index))
        view = View(image_key(rendering.image), rendering.image, CAMERA)
        found.append((view, rendering.points_in_world))
    return found


@pytest.fixture(scope="module")
def matcher() -> LearnedMatcher:
    return LearnedMatcher(OPTIONS)


@pytest.fixture(scope="module")
def features(views: list[tuple[View, np.ndarray]], matcher: LearnedMatcher) -> list[Features]:
    return [matcher.extract(view.image) for view, _ in views]


@pytest.fixture(scope="module")
def matches(features: list[Features], matcher: LearnedMatcher) -> Matches:
    return matcher.match(features[0], features[1])
