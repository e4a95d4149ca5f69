from __future__ import annotations

import gc
import json
import weakref
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facade_views import CAMERA, OPTIONS
from interpose_sfm.matching import cache as cache_module
from interpose_sfm.matching.cache import LearnedCache, PhotoViews, Recent, photo_view
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.products import Features, ImageArray, Matches, View
from interpose_sfm.storage.content_keys import image_key, store_key
from interpose_sfm.storage.run_stores import open_stores

NAMES = ("a.png", "b.png")


class NeverError(AssertionError):
    """Something was computed that should have been stored."""


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """From here on nothing may be computed."""

    def refuse(*args: object) -> None:
        raise NeverError(args)

    monkeypatch.setattr(LearnedMatcher, "extract", refuse)
    monkeypatch.setattr(LearnedMatcher, "match", refuse)
    return monkeypatch


@pytest.fixture(scope="module")
def store_dir(views: list[tuple[View, np.ndarray]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores that a run has filled with two photos, their matches and a frame."""
    folder = tmp_path_factory.mktemp("stores")
    with open_stores(folder) as stores:
        cache = LearnedCache(stores.features, stores.matches, OPTIONS)
        for view, _ in views:
            cache.keep(view)
        cache.matches(views[0][0], views[1][0])
        cache.matches(views[0][0], frame_of(views[1][0]))
        assert (len(stores.features), len(stores.matches)) == (3, 2)
    return folder


def frame_of(photo: View) -> View:
    image: ImageArray = np.ascontiguousarray(photo.image[8:-8, 8:-8])
    return View(image_key(image), image, photo.intrinsics)


def test_photos_are_computed_once(
    store_dir: Path, views: list[tuple[View, np.ndarray]], features: list[Features], matches: Matches, forbidden: object
) -> None:
    del forbidden
    with open_stores(store_dir) as stores:
        cache = LearnedCache(stores.features, stores.matches, OPTIONS)
        for view, _ in views:
            cache.keep(view)
        np.testing.assert_array_equal(cache.features(views[0][0]).keypoints_px, features[0].keypoints_px)
        np.testing.assert_array_equal(cache.matches(views[0][0], views[1][0]).indices, matches.indices)
        with pytest.raises(NeverError):
            cache.matches(views[1][0], views[0][0])  # another direction is another question


@pytest.mark.parametrize("has_cuda", [False, True])
def test_a_device_is_kept_by_its_name(
    store_dir: Path, views: list[tuple[View, np.ndarray]], has_cuda: bool, forbidden: pytest.MonkeyPatch
) -> None:
    """What a run on the CPU has computed serves one that chooses the CPU by itself, and none on a GPU."""
    assert OPTIONS.device == "cpu"
    forbidden.setattr("interpose_sfm.options.devices._has_driver", lambda: has_cuda)
    forbidden.setattr("torch.cuda.is_available", lambda: has_cuda)
    forbidden.setattr("torch.cuda.device_count", lambda: int(has_cuda))
    with open_stores(store_dir) as stores:
        cache = LearnedCache(stores.features, stores.matches, replace(OPTIONS, device="auto"))
        assert cache.options.device == ("cuda" if has_cuda else "cpu")
        cache.keep(views[0][0])
        with pytest.raises(NeverError) if has_cuda else nullcontext():
            cache.features(views[0][0])


def test_what_workers_elsewhere_look_for_is_computed_on_a_machine_without_their_device(
    views: list[tuple[View, np.ndarray]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (a, _), (b, _) = views
    options = replace(OPTIONS, device="cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with open_stores(tmp_path) as stores:
        with pytest.raises(ValueError, match="torch sees 0 CUDA devices"):
            LearnedCache(stores.features, stores.matches, options)
        cache = LearnedCache(stores.features, stores.matches, options, is_here=False)
        assert cache.options.device == "cuda"
        cache.prepare([(a, b), (b, a)])
        found = cache.matches(a, b)
        assert "no cuda here: what is not matched by workers is matched on the CPU" in caplog.text
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    for name in ("extract", "match"):
        monkeypatch.setattr(LearnedMatcher, name, lambda *_: pytest.fail("it is computed again"))
    with open_stores(tmp_path) as stores:
        worker = LearnedCache(stores.features, stores.matches, options)
        np.testing.assert_array_equal(worker.matches(a, b).indices, found.indices)
        worker.features(a)


@pytest.mark.parametrize("changes", [{"max_keypoints": 401}, {"min_match_score": 0.2}, {"learned_max_image_px": 300}])
def test_other_options_are_computed_anew(
    store_dir: Path, views: list[tuple[View, np.ndarray]], changes: dict[str, float], forbidden: object
) -> None:
    del forbidden
    with open_stores(store_dir) as stores:
        cache = LearnedCache(stores.features, stores.matches, replace(OPTIONS, **changes))  # type: ignore[arg-type]
        cache.keep(views[0][0])
        with pytest.raises(NeverError):
            cache.features(views[0][0])


def test_frames_have_fewer_key_points_and_are_stored(
    store_dir: Path, views: list[tuple[View, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, frame = views[0][0], frame_of(views[1][0])
    everything = LearnedMatcher(OPTIONS).extract(frame.image)

    def refuse(*args: object) -> None:
        raise NeverError(args)

    monkeypatch.setattr(LearnedMatcher, "extract", refuse)
    monkeypatch.setattr(LearnedMatcher, "match", refuse)
    with open_stores(store_dir) as stores:
        cache = LearnedCache(stores.features, stores.matches, OPTIONS)
        cache.keep(photo)
        first = cache.matches(photo, frame)
        assert cache.matches(photo, frame) is first
        best = cache.features(frame)
        assert len(best.keypoints_px) == OPTIONS.max_frame_keypoints
        left_out = len(everything.scores) - OPTIONS.max_frame_keypoints
        assert left_out > 0
        assert best.scores.min() >= np.sort(everything.scores)[left_out - 1]
        cache.forget_frames()
        again = cache.matches(photo, frame)
        assert again is not first
        np.testing.assert_array_equal(again.indices, first.indices)
        assert cache.features(photo) is cache.features(photo)


def test_photos_are_loaded_by_name(
    store_dir: Path, views: list[tuple[View, np.ndarray]], tmp_path: Path, forbidden: object
) -> None:
    del forbidden
    for name, (view, _) in zip(NAMES, views, strict=True):
        Image.fromarray(view.image).save(tmp_path / name)
    cameras = {NAMES[0]: CAMERA, NAMES[1]: replace(CAMERA, is_trusted=False)}
    photos = PhotoViews(tmp_path, cameras)
    with open_stores(store_dir) as stores:
        cache = LearnedCache(stores.features, stores.matches, OPTIONS)
        load = photos.loader(cache)
        a, b = load(NAMES[0]), load(NAMES[1])
        assert (a.key, b.key) == (views[0][0].key, views[1][0].key)
        assert b.intrinsics == cameras[NAMES[1]]
        assert load(NAMES[0]) is a
        assert len(cache.matches(a, b).indices) > 80  # from the stores: loaded photos are declared to the cache
    grey = tmp_path / "grey.png"
    Image.fromarray(views[0][0].image).convert("LA").save(grey)
    assert photo_view(grey, CAMERA).image.shape == (240, 320, 3)


def test_key_points_under_black_are_left_out(
    views: list[tuple[View, np.ndarray]], features: list[Features], tmp_path: Path
) -> None:
    view = views[0][0]
    Image.fromarray(view.image).save(tmp_path / "a.png")
    mask = np.ones(view.image.shape[:2], np.uint8)
    mask[100:180, 40:200] = 0
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png.png")  # what is not black, however dark, is used
    with open_stores(tmp_path) as stores:
        cache = LearnedCache(stores.features, stores.matches, OPTIONS)
        masked = PhotoViews(tmp_path, {"a.png": CAMERA}, tmp_path / "masks").loader(cache)("a.png")
        found = cache.features(masked)
        (x, y), all_px = features[0].keypoints_px.T, features[0].keypoints_px
        outside = ~((x >= 40) & (x < 200) & (y >= 100) & (y < 180))
        assert 20 < np.count_nonzero(~outside) < len(all_px) - 20
        np.testing.assert_array_equal(found.keypoints_px, all_px[outside])
        np.testing.assert_array_equal(found.descriptors, features[0].descriptors[outside])
        other = mask.copy()
        other[0, 0] = 0
        keys = {view.key, masked.key, photo_view(tmp_path / "a.png", CAMERA, other > 0).key}
        assert len(keys) == 3
        assert photo_view(tmp_path / "a.png", CAMERA, mask > 0).key == masked.key


def test_of_an_earlier_version_key_points_are_good_and_matches_are_made_again(
    store_dir: Path, views: list[tuple[View, np.ndarray]], matches: Matches, tmp_path: Path
) -> None:
    """It stored what its filter left, under a key without the last part."""
    a, b = views[0][0], views[1][0]
    with open_stores(store_dir) as stores, open_stores(tmp_path) as earlier:
        for key in tuple(stores.features.keys()):
            found = stores.features.get(key)
            assert found is not None
            earlier.features.put(key, found)
        (key,) = (key for key in sorted(stores.matches.keys()) if json.loads(key)[:2] == [a.key, b.key])
        assert json.loads(key)[2] == json.loads(stores.features.keys()[0])[1]  # one settings key for both
        earlier.matches.put(store_key(*json.loads(key)[:3]), matches.above(0.1))
    with open_stores(tmp_path) as stores, pytest.MonkeyPatch.context() as patch:
        patch.setattr(LearnedMatcher, "extract", None)
        cache = LearnedCache(stores.features, stores.matches, OPTIONS)
        for view, _ in views:
            cache.keep(view)
        np.testing.assert_array_equal(cache.matches(a, b).indices, matches.indices)


# ---------------------------------------------------------------- memory


def test_recent_items_are_held_and_others_give_way() -> None:
    recent: Recent[str, int] = Recent(3)
    for value, key in enumerate("abc"):
        recent.hold(key, value)
    assert recent.recall("a") == 0
    recent.hold("d", 3)
    assert recent.recall("b") is None
    assert [recent.recall(key) for key in "cad"] == [2, 0, 3]
    recent.hold("c", 7)
    recent.hold("e", 4)
    assert recent.recall("a") is None
    assert [recent.recall(key) for key in "dce"] == [3, 7, 4]
    recent.forget(lambda key: key != "d")
    assert [recent.recall(key) for key in "dce"] == [3, None, None]


def test_items_of_any_size_are_held_up_to_a_sum() -> None:
    recent: Recent[str, bytes] = Recent(10, len)
    for name, size in (("a", 4), ("b", 4), ("c", 2)):
        recent.hold(name, bytes(size))
    recent.hold("b", bytes(3))  # takes less than before
    recent.hold("d", bytes(1))
    assert recent.recall("a") is not None  # and so it is used last
    assert recent.recall("b") is not None
    recent.hold("e", bytes(3))
    assert [name for name in "abcde" if recent.recall(name) is not None] == ["a", "b", "e"]
    recent.hold("too large", bytes(11))
    assert recent.recall("too large") is None


def test_memory_is_bounded_and_what_fell_out_is_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_photos, held = 60, 20
    made: list[weakref.ref[Features]] = []
    matched: list[weakref.ref[Matches]] = []

    def extract(self: LearnedMatcher, image: ImageArray) -> Features:
        del self, image
        points, scores = np.full((8, 2), float(len(made))), np.ones(8, np.float32)
        features = Features(points, np.zeros((8, 128), np.float32), scores, (2, 2))
        made.append(weakref.ref(features))
        return features

    def match(self: LearnedMatcher, a: Features, b: Features) -> Matches:
        del self, a, b
        matches = Matches(np.zeros((8, 2), np.uint32), np.ones(8, np.float32))
        matched.append(weakref.ref(matches))
        return matches

    monkeypatch.setattr(LearnedMatcher, "extract", extract)
    monkeypatch.setattr(LearnedMatcher, "match", match)
    monkeypatch.setattr(cache_module, "MAX_FEATURES_HELD", held)
    monkeypatch.setattr(cache_module, "MAX_MATCHES_HELD", held)
    views = [View(f"photo {index}", np.zeros((2, 2, 3), np.uint8), CAMERA) for index in range(num_photos)]
    with open_stores(tmp_path) as stores:
        cache = LearnedCache(stores.features, stores.matches, OPTIONS)
        for view in views:
            cache.keep(view)
        for first, second in pairwise(views):
            cache.matches(first, second)
        gc.collect()
        assert sum(item() is not None for item in made) == held
        assert sum(item() is not None for item in matched) == held
        assert cache.features(views[0]).keypoints_px[0, 0] == 0.0  # from the store
        assert len(cache.matches(views[0], views[1]).scores) == 8
    assert len(made) == num_photos
    assert len(matched) == num_photos - 1


def test_a_photo_that_was_a_frame_before_has_its_own_features(
    views: list[tuple[View, np.ndarray]], tmp_path: Path
) -> None:
    photo, options = views[0][0], replace(OPTIONS, max_frame_keypoints=40)
    with open_stores(tmp_path) as stores:
        cache = LearnedCache(stores.features, stores.matches, options)
        assert len(cache.features(photo).keypoints_px) == 40
        cache.keep(photo)
        assert len(cache.features(photo).keypoints_px) > 40
