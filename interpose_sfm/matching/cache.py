"""Learned features and matches of photos and frames, each computed once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interpose_sfm.matching.ahead import at_once, num_workers
from interpose_sfm.matching.lightglue import LearnedMatcher, weights_id
from interpose_sfm.options import MatchingOptions
from interpose_sfm.photos.masks import photo_mask
from interpose_sfm.photos.pictures import read_rgb
from interpose_sfm.products import Features, FloatArray, Intrinsics, MaskArray, Matches, View
from interpose_sfm.storage.content_keys import content_key, view_key
from interpose_sfm.storage.stores import FeatureStore, MatchStore, store_key

ANY_SCORE = "any score"
"""Part of the key of stored matches: those of earlier versions lack the doubtful ones, and are made again."""


def photo_view(path: Path, intrinsics: Intrinsics, mask: MaskArray | None = None) -> View:
    """A photo on disk as a view."""
    image = read_rgb(path)
    return View(view_key(image, mask), image, intrinsics, mask)


class LearnedCache:
    """Features of views and matches of pairs of views.

    Both are kept in the HDF5 stores, under keys that hold image content, options and weights. What concerns frames of
    clips leaves memory with :meth:`forget_frames`. Several threads may ask; one of them computes, the others wait.

    Attributes:
        options: How they are computed, and on which device.
    """

    def __init__(self, features: FeatureStore, matches: MatchStore, options: MatchingOptions) -> None:
        self.options = options = options.on_device()
        self._feature_store, self._match_store = features, matches
        self._matcher = LearnedMatcher(options)
        self._max_frame_keypoints = options.max_frame_keypoints
        self._settings = content_key(options, weights_id())[:16]
        self._photos: set[str] = set()
        self._features: dict[str, Features] = {}
        self._matches: dict[tuple[str, str], Matches] = {}
        self._busy: dict[str, threading.Lock] = {}

    def keep(self, photo: View) -> None:
        """Declare a view to be a photo, which gets more key points than a frame and stays in memory."""
        self._photos.add(photo.key)

    def features(self, view: View) -> Features:
        """Features of a view."""
        key = store_key(view.key, self._settings)
        with self._busy.setdefault(key, threading.Lock()):
            features = self._features.get(view.key) or self._feature_store.get(key)
            if features is None:
                features = self._matcher.extract(view.image)
                if view.mask is not None:
                    features = features.chosen(_on_white(features.keypoints_px, view.mask))
                if view.key not in self._photos:
                    features = _best(features, self._max_frame_keypoints)
                self._feature_store.put(key, features)
            self._features[view.key] = features
        return features

    def matches(self, a: View, b: View) -> Matches:
        """Putative matches from a to b, of any score."""
        key = store_key(a.key, b.key, self._settings, ANY_SCORE)
        with self._busy.setdefault(key, threading.Lock()):
            matches = self._matches.get((a.key, b.key)) or self._match_store.get(key)
            if matches is None:
                matches = self._matcher.match(self.features(a), self.features(b))
                self._match_store.put(key, matches)
            self._matches[a.key, b.key] = matches
        return matches

    def features_and_matches(self, a: View, b: View) -> tuple[Features, Features, Matches]:
        """Features of both views, and putative matches from a to b, of any score."""
        return self.features(a), self.features(b), self.matches(a, b)

    def prepare(self, pairs: Sequence[tuple[View, View]]) -> None:
        """Compute features and matches of pairs of views on all cores, where there are several."""
        workers = min(num_workers(self.options.device), len(pairs))
        if workers > 1:
            at_once(lambda pair: self.features_and_matches(*pair), pairs, workers)

    def forget_frames(self) -> None:
        """Drop what is held in memory for frames."""
        self._features = {key: value for key, value in self._features.items() if key in self._photos}
        self._matches = {pair: value for pair, value in self._matches.items() if self._photos.issuperset(pair)}


def _best(features: Features, number: int) -> Features:
    """The features with the highest scores, in their order."""
    return features.chosen(np.sort(np.argsort(-features.scores, kind="stable")[:number]))


def _on_white(keypoints_px: FloatArray, mask: MaskArray) -> NDArray[np.intp]:
    """Rows of the key points that lie in pixels where the mask is not black, as COLMAP asks it."""
    columns, rows = np.floor(keypoints_px).astype(int).T
    height, width = mask.shape
    return np.flatnonzero(mask[rows.clip(0, height - 1), columns.clip(0, width - 1)])


@dataclass(frozen=True)
class PhotoViews:
    """Photos of a folder as views.

    Attributes:
        image_dir: Folder that holds the photos under their names.
        cameras: Photo name -> camera.
        mask_dir: Folder of their masks, see `photos.masks`; None for none.
    """

    image_dir: Path
    cameras: Mapping[str, Intrinsics]
    mask_dir: Path | None = None

    def loader(self, cache: LearnedCache) -> Callable[[str], View]:
        """Loads photos by name, declares them to the cache, and holds a few of them in memory."""

        @lru_cache(maxsize=16)
        def load(name: str) -> View:
            camera = self.cameras[name]
            mask = photo_mask(self.mask_dir, name, (camera.width_px, camera.height_px))
            view = photo_view(self.image_dir / name, camera, mask)
            cache.keep(view)
            return view

        return load
