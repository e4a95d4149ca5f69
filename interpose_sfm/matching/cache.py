"""Learned features and matches of photos and frames, each computed once."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from interpose_sfm.engines.local import num_threads
from interpose_sfm.matching.ahead import at_once
from interpose_sfm.matching.lightglue import LearnedMatcher, weights_id
from interpose_sfm.options import MatchingOptions
from interpose_sfm.options.devices import has_device
from interpose_sfm.photos.masks import photo_mask
from interpose_sfm.photos.pictures import read_rgb
from interpose_sfm.products import Features, FloatArray, Intrinsics, MaskArray, Matches, Placement, View
from interpose_sfm.storage.content_keys import content_key, store_key, view_key
from interpose_sfm.storage.feature_stores import FeatureStore, MatchStore

logger = logging.getLogger(__name__)

ANY_SCORE = "any score"
"""Part of the key of stored matches: those of earlier versions lack the doubtful ones, and are made again."""


NUM_LOCKS = 64  # far more than threads, so that these hardly ever wait for what another one computes
MAX_FEATURES_HELD = 256  # about 1 MB each; what falls out is read from the store again
MAX_MATCHES_HELD = 4096  # about 25 KB each
MAX_CLAIMED = 64  # pairs that are matched together at most; each claim keeps a file open
MAX_BYTES_HELD = 192 << 20  # of pictures: 130 of 0.5 megapixels, or five of twelve

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """What was used last, up to some size, whatever the size of a collection; for several threads.

    Args:
        most: Size of all items together at most.
        size_of: Size of one; by default they are counted.
    """

    def __init__(self, most: int, size_of: Callable[[V], int] = lambda _: 1) -> None:
        self._most, self._size_of, self._size = most, size_of, 0
        self._items: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, key: K) -> V | None:
        """An item, which counts as used; None if it is not held."""
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
            return self._items.get(key)

    def hold(self, key: K, value: V) -> None:
        """Hold an item; what was not used for longest gives way."""
        with self._lock:
            self._drop(key)
            self._items[key] = value
            self._size += self._size_of(value)
            while self._size > self._most:
                self._drop(next(iter(self._items)))

    def forget(self, is_dropped: Callable[[K], bool]) -> None:
        """Drop the items of some keys."""
        with self._lock:
            for key in [key for key in self._items if is_dropped(key)]:
                self._drop(key)

    def _drop(self, key: K) -> None:
        if key in self._items:
            self._size -= self._size_of(self._items.pop(key))


def photo_view(path: Path, intrinsics: Intrinsics, mask: MaskArray | None = None) -> View:
    """A photo on disk as a view."""
    image = read_rgb(path)
    return View(view_key(image, mask), image, intrinsics, mask)


class LearnedCache:
    """Features of views and matches of pairs of views.

    Both are kept in the HDF5 stores, under keys that hold image content, options and weights. Memory holds those that
    were used last, a bounded number of them; what concerns frames of clips leaves it with :meth:`forget_frames`.
    Several threads may ask, and several processes with the same stores; one of them computes, the others wait.

    Attributes:
        options: How they are computed, and on which device.
    """

    def __init__(
        self, features: FeatureStore, matches: MatchStore, options: MatchingOptions, *, is_here: bool = True
    ) -> None:
        """Load and compute nothing yet.

        Args:
            features, matches: Stores.
            options: How they are computed.
            is_here: Whether this machine must have the device. Else it is that of workers on other machines: where this
                one lacks it, what it computes itself is computed on the CPU, and kept with what they compute.

        Raises:
            ValueError: torch has no such device here.
        """
        self.options = options = options.on_device(is_here=is_here)
        self._feature_store, self._match_store = features, matches
        self._device = options.device
        if not (is_here or has_device(self._device)):
            logger.warning("no %s here: what is not matched by workers is matched on the CPU", self._device)
            self._device = "cpu"
        self._matcher = LearnedMatcher(replace(options, device=self._device))
        self._max_frame_keypoints = options.max_frame_keypoints
        self._settings = content_key(options, weights_id())[:16]
        self._photos: set[str] = set()
        self._features: Recent[str, Features] = Recent(MAX_FEATURES_HELD)
        self._matches: Recent[tuple[str, str], Matches] = Recent(MAX_MATCHES_HELD)
        # Matches are asked for before features, never the other way round, so that no two threads wait for each other.
        self._match_locks = tuple(threading.Lock() for _ in range(NUM_LOCKS))
        self._feature_locks = tuple(threading.Lock() for _ in range(NUM_LOCKS))

    def keep(self, photo: View) -> None:
        """Declare a view to be a photo, which gets more key points than a frame and outlasts `forget_frames`."""
        self._photos.add(photo.key)

    def _name(self, view: View) -> str:
        """A view by its content, and as what it was declared: a photo that was a frame before has more key points."""
        return view.key if view.key in self._photos else f"{view.key} as a frame"

    def features(self, view: View) -> Features:
        """Features of a view."""
        name = self._name(view)
        key = store_key(name, self._settings)
        with self._feature_locks[hash(key) % NUM_LOCKS]:
            features = self._features.recall(name) or self._feature_store.get(key)
            if features is None:
                with self._feature_store.making(key) as made_elsewhere:
                    features = made_elsewhere or self._extracted(view, name)
                    if made_elsewhere is None:
                        self._feature_store.put(key, features)
            self._features.hold(name, features)
        return features

    def _extracted(self, view: View, name: str) -> Features:
        features = self._matcher.extract(view.image)
        if view.mask is not None:
            features = features.chosen(_on_white(features.keypoints_px, view.mask))
        return features if name in self._photos else features.strongest(self._max_frame_keypoints)

    def matches(self, a: View, b: View) -> Matches:
        """Putative matches from a to b, of any score."""
        names = self._name(a), self._name(b)
        key = self._match_key(names)
        with self._match_locks[hash(key) % NUM_LOCKS]:
            matches = self._matches.recall(names) or self._match_store.get(key)
            if matches is None:
                with self._match_store.making(key) as made_elsewhere:
                    matches = made_elsewhere or self._matcher.match(self.features(a), self.features(b))
                    if made_elsewhere is None:
                        self._match_store.put(key, matches)
            self._matches.hold(names, matches)
        return matches

    def features_and_matches(self, a: View, b: View) -> tuple[Features, Features, Matches]:
        """Features of both views, and putative matches from a to b, of any score."""
        return self.features(a), self.features(b), self.matches(a, b)

    def match_all(self, pairs: Sequence[tuple[View, View]]) -> None:
        """Compute the matches of pairs of views that are not known yet, as many at once as the device holds."""
        wanted = {(self._name(a), self._name(b)): (a, b) for a, b in pairs}
        missing = [
            names
            for names in wanted
            if self._matches.recall(names) is None and self._match_store.get(self._match_key(names)) is None
        ]
        for start in range(0, len(missing), MAX_CLAIMED):
            some = {names: wanted[names] for names in missing[start : start + MAX_CLAIMED]}
            matched = self._match_free(some)
            for names, pair in some.items():
                if names not in matched:
                    self.matches(*pair)  # waits for who is at it, and may die of it

    def _match_free(self, pairs: Mapping[tuple[str, str], tuple[View, View]]) -> set[tuple[str, str]]:
        """Match those of some pairs together that nobody else is at; returns their names.

        Nobody is waited for who matches while pairs are claimed, so that no two wait for each other.
        """
        with ExitStack() as claims:
            ours = [
                names
                for names in pairs
                if claims.enter_context(self._match_store.making_if_free(self._match_key(names)))
            ]
            features = [(self.features(a), self.features(b)) for a, b in (pairs[names] for names in ours)]
            for names, matches in zip(ours, self._matcher.match_all(features), strict=True):
                self._match_store.put(self._match_key(names), matches)
                self._matches.hold(names, matches)
        return set(ours)

    def _match_key(self, names: tuple[str, str]) -> str:
        return store_key(*names, self._settings, ANY_SCORE)

    def prepare(self, pairs: Sequence[tuple[View, View]]) -> None:
        """Compute features and matches of pairs of views on all cores, or together on a GPU."""
        if self._device != "cpu":
            self.match_all(pairs)
        elif len(pairs) > 1:
            at_once(lambda pair: self.features_and_matches(*pair), pairs)

    def prepare_features(self, views: Sequence[View]) -> None:
        """Compute features of views that are not held on all cores; one after another on a GPU."""
        missing = [view for view in views if self._features.recall(self._name(view)) is None]
        if self._device == "cpu" and len(missing) > 1:
            at_once(self.features, missing)

    def num_at_once(self) -> int:
        """Threads that may ask for features and matches at once with gain: as many as torch may use; 1 on a GPU."""
        return num_threads(gpus=float(self._device != "cpu"))

    def forget_frames(self) -> None:
        """Drop what is held in memory for frames."""
        self._features.forget(lambda name: name not in self._photos)
        self._matches.forget(lambda pair: not self._photos.issuperset(pair))


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
        placement: Photo name -> where a base model has it; None where none has, or nobody asks.
    """

    image_dir: Path
    cameras: Mapping[str, Intrinsics]
    mask_dir: Path | None = None
    placement: Callable[[str], Placement | None] = lambda name: None

    def loader(self, cache: LearnedCache) -> Callable[[str], View]:
        """Loads photos by name, declares them to the cache, and holds some of them in memory."""
        held: Recent[str, View] = Recent(MAX_BYTES_HELD, lambda view: view.image.nbytes)

        def load(name: str) -> View:
            found = held.recall(name)
            if found is not None:
                return found
            camera = self.cameras[name]
            mask = photo_mask(self.mask_dir, name, (camera.width_px, camera.height_px))
            view = photo_view(self.image_dir / name, camera, mask)
            view = replace(view, placement=self.placement(name))
            cache.keep(view)
            held.hold(name, view)
            return view

        return load
