"""Sees to it that the network encodes every image once and decodes every ordered pair once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from interpose_sfm.pose.dust3r.crops import cut
from interpose_sfm.pose.dust3r.network import Encoding, PairNetwork
from interpose_sfm.pose.point_maps.crops import Crop
from interpose_sfm.pose.point_maps.maps import PointMaps
from interpose_sfm.products import View
from interpose_sfm.storage.content_keys import store_key

if TYPE_CHECKING:
    from interpose_sfm.pose.dust3r.stores import NetworkStores

PairKey = tuple[str, str]

MAX_CROPS = 256  # half a megabyte each at 512 pixels
MAX_ENCODINGS = 64  # three megabytes each; with stores, what falls out is read again
MAX_POINT_MAPS = 32  # six megabytes each

_K = TypeVar("_K")
_T = TypeVar("_T")


class CachedInference:
    """Point maps of ordered pairs of views.

    Args:
        network: Runs on crops.
        size_px: Longer side of the crops.
        batch_size: Images or pairs in one run.
        stores: Where results are kept; without them they are kept in memory, all of them.

    Attributes:
        num_encoded, num_decoded: Images and ordered pairs that the network ran on.
    """

    def __init__(
        self, network: PairNetwork, size_px: int, batch_size: int = 1, stores: NetworkStores | None = None
    ) -> None:
        self._network, self._size_px, self._batch_size, self._stores = network, size_px, batch_size, stores
        self._crops: OrderedDict[str, Crop] = OrderedDict()
        self._encodings: OrderedDict[str, Encoding] = OrderedDict()
        self._maps: OrderedDict[PairKey, PointMaps] = OrderedDict()
        self.num_encoded = self.num_decoded = 0

    def crop(self, view: View) -> Crop:
        """The view as the network sees it."""
        if view.key not in self._crops:
            _remember(self._crops, view.key, cut(view.image, self._size_px), MAX_CROPS)
        return self._crops[view.key]

    def compute(self, views: Sequence[View], pairs: Iterable[PairKey]) -> None:
        """Run the network on what was never asked for before, in batches.

        Args:
            views: At least those in the pairs.
            pairs: Keys (of i, of j) of ordered pairs of views.
        """
        by_key = {view.key: view for view in views}
        missing = [pair for pair in dict.fromkeys(pairs) if not self._has_maps(pair)]
        needed = [key for key in dict.fromkeys(key for pair in missing for key in pair) if not self._has_encoding(key)]
        for batch in _batches([by_key[key] for key in needed], lambda view: self.crop(view).shape, self._batch_size):
            encodings = self._network.encode([self.crop(view).image for view in batch])
            self.num_encoded += len(batch)
            for view, encoding in zip(batch, encodings, strict=True):
                self._put_encoding(view.key, encoding)
        shapes = {key: self.crop(view).shape for key, view in by_key.items()}
        for pair_batch in _batches(missing, lambda pair: (shapes[pair[0]], shapes[pair[1]]), self._batch_size):
            encoded = [(self._encoding(i), self._encoding(j)) for i, j in pair_batch]
            maps = self._network.decode(encoded)
            self.num_decoded += len(pair_batch)
            for pair, found_maps in zip(pair_batch, maps, strict=True):
                self._put_maps(pair, found_maps)

    def point_maps(self, pair: PairKey) -> PointMaps:
        """What the network said of an ordered pair; KeyError if it was never computed."""
        maps = self._maps.get(pair)
        if maps is None and self._stores is not None:
            maps = self._stores.point_maps.get(self._key(*pair))
            if maps is not None:
                _remember(self._maps, pair, maps, MAX_POINT_MAPS)
        if maps is None:
            raise KeyError(pair)
        return maps

    def _key(self, *views: str) -> str:
        return store_key(*views, self._network.identity, str(self._size_px))

    def _has_maps(self, pair: PairKey) -> bool:
        return pair in self._maps or (self._stores is not None and self._key(*pair) in self._stores.point_maps)

    def _has_encoding(self, key: str) -> bool:
        return key in self._encodings or (self._stores is not None and self._key(key) in self._stores.encodings)

    def _encoding(self, key: str) -> Encoding:
        encoding = self._encodings.get(key)
        if encoding is None:
            assert self._stores is not None
            encoding = self._stores.encodings.get(self._key(key))
            assert encoding is not None
            _remember(self._encodings, key, encoding, MAX_ENCODINGS)
        return encoding

    def _put_encoding(self, key: str, value: Encoding) -> None:
        if self._stores is not None:
            self._stores.encodings.put(self._key(key), value)
        _remember(self._encodings, key, value, None if self._stores is None else MAX_ENCODINGS)

    def _put_maps(self, pair: PairKey, value: PointMaps) -> None:
        if self._stores is not None:
            self._stores.point_maps.put(self._key(*pair), value)
        _remember(self._maps, pair, value, None if self._stores is None else MAX_POINT_MAPS)


def all_ordered_pairs(keys: Sequence[str]) -> list[PairKey]:
    """Every ordered pair of different views, as the paper has it."""
    return [(i, j) for i in keys for j in keys if i != j]


def tying_pairs(keys: Sequence[str]) -> list[PairKey]:
    """A with B, and every view between with A and with B, in both orders; A is the first key, B the last.

    Two frames need no pair of their own: where all pairs are equally good, a pair of frames adds nothing to what the
    others say of A and B (in a complete graph of equal resistors no current flows between two inner nodes).
    """
    ends = {keys[0], keys[-1]}
    return [(i, j) for i, j in all_ordered_pairs(keys) if i in ends or j in ends]


def _remember(memory: OrderedDict[_K, _T], key: _K, value: _T, limit: int | None) -> None:
    memory[key] = value
    while limit is not None and len(memory) > limit:
        memory.popitem(last=False)


def _batches(items: Sequence[_T], kind: Callable[[_T], Hashable], size: int) -> Iterator[list[_T]]:
    """Batches of items of one kind, in the order of the first item of each kind."""
    groups: dict[Hashable, list[_T]] = {}
    for item in items:
        groups.setdefault(kind(item), []).append(item)
    for group in groups.values():
        rest = iter(group)
        while batch := list(islice(rest, size)):
            yield batch
