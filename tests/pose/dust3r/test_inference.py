"""DUSt3R's network code, its weights, crops and caches, with the real classes at a tiny size."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpose_sfm.options import Dust3rOptions
from interpose_sfm.pose.dust3r.inference import CachedInference, all_ordered_pairs, tying_pairs
from interpose_sfm.pose.dust3r.network import Encoding
from interpose_sfm.pose.dust3r.stores import PointMapStore, open_network_stores
from interpose_sfm.pose.point_maps.maps import PointMaps
from interpose_sfm.products import ImageArray
from interpose_sfm.storage.item_files import StoreError
from tiny_dust3r import pictures

# ---------------------------------------------------------------- caches


class CountingNetwork:
    """Answers with numbers that tell what was asked."""

    def __init__(self, identity: str = "counting") -> None:
        self.identity = identity
        self.batches: list[tuple[str, int]] = []

    def encode(self, images: Sequence[ImageArray]) -> list[Encoding]:
        assert len({image.shape for image in images}) == 1
        self.batches.append(("encode", len(images)))
        return [Encoding(np.full((4, 2), image.mean(), np.float32), image.shape[:2]) for image in images]

    def decode(self, pairs: Sequence[tuple[Encoding, Encoding]]) -> list[PointMaps]:
        assert len({(i.shape, j.shape) for i, j in pairs}) == 1
        self.batches.append(("decode", len(pairs)))
        return [
            PointMaps(
                np.full((*i.shape, 3), i.tokens[0, 0] - j.tokens[0, 0], np.float32),
                np.ones(i.shape, np.float32),
                np.full((*j.shape, 3), 7.0, np.float32),
                np.ones(j.shape, np.float32),
            )
            for i, j in pairs
        ]


def num_alive(kind: type) -> int:
    """How many objects of a class somebody holds."""
    gc.collect()
    return sum(type(found) is kind for found in gc.get_objects())


def test_every_image_and_every_ordered_pair_runs_once() -> None:
    views = pictures([(48, 64), (48, 64), (64, 48), (48, 64)])
    counting = CountingNetwork()
    inference = CachedInference(counting, 64, batch_size=3)
    inference.compute(views[:3], all_ordered_pairs(["0", "1", "2"]))
    assert (inference.num_encoded, inference.num_decoded) == (3, 6)
    inference.compute(views, all_ordered_pairs(["0", "1", "2", "3"]))
    inference.compute(views, all_ordered_pairs(["0", "1", "3"]))
    assert (inference.num_encoded, inference.num_decoded) == (4, 12)
    assert max(size for _, size in counting.batches) == 3
    forth, back = (inference.point_maps(pair).points_i[0, 0, 0] for pair in (("0", "1"), ("1", "0")))
    assert forth == -back != 0
    assert inference.point_maps(("0", "2")).conf_j.shape == (64, 48)
    with pytest.raises(KeyError):
        inference.point_maps(("1", "7"))


def test_results_are_found_again_on_disk(tmp_path: Path) -> None:
    views, pairs = pictures([(48, 64)] * 3), all_ordered_pairs(["0", "1", "2"])
    with open_network_stores(tmp_path) as stores:
        first = CachedInference(CountingNetwork(), 64, 2, stores)
        first.compute(views, pairs)
        expected = first.point_maps(("0", "2"))
    with open_network_stores(tmp_path) as stores:
        again = CachedInference(CountingNetwork(), 64, 2, stores)
        again.compute(views, pairs)
        assert (again.num_encoded, again.num_decoded) == (0, 0)
        found = again.point_maps(("0", "2"))
        for name in ("points_i", "conf_i", "points_j_in_i", "conf_j"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        other_weights = CachedInference(CountingNetwork("other"), 64, 2, stores)
        other_weights.compute(views, pairs)
        assert (other_weights.num_encoded, other_weights.num_decoded) == (3, 6)
        other_size = CachedInference(CountingNetwork(), 128, 2, stores)
        other_size.compute(views[:2], [("0", "1")])
        assert (other_size.num_encoded, other_size.num_decoded) == (2, 1)
        with pytest.raises(ValueError, match="float32 of 2 dimensions"):
            stores.encodings.put("x", Encoding(np.zeros(3), (1, 1)))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="does not hold point maps"):
        PointMapStore(tmp_path / "encodings.h5")


def test_stores_that_are_not_used_leave_nothing(tmp_path: Path) -> None:
    with open_network_stores(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_memory_is_bounded_where_there_is_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from interpose_sfm.pose.dust3r import inference as module

    monkeypatch.setattr(module, "MAX_ENCODINGS", 1)
    monkeypatch.setattr(module, "MAX_POINT_MAPS", 1)
    views, pairs = pictures([(48, 64)] * 4), all_ordered_pairs(["0", "1", "2", "3"])
    with open_network_stores(tmp_path) as stores:
        before = num_alive(Encoding), num_alive(PointMaps)
        inference = CachedInference(CountingNetwork(), 64, 5, stores)
        inference.compute(views, pairs)
        assert (inference.num_encoded, inference.num_decoded) == (4, 12)
        forth, back = (float(inference.point_maps(pair).points_i[0, 0, 0]) for pair in (("0", "3"), ("3", "0")))
        assert forth == -back != 0
        assert (num_alive(Encoding) - before[0], num_alive(PointMaps) - before[1]) == (1, 1)


def test_economical_pairs_tie_every_view_to_both_ends() -> None:
    pairs = tying_pairs(["A", "f", "g", "h", "B"])
    assert len(pairs) == len(set(pairs)) == 14
    assert all({"A", "B"} & set(pair) for pair in pairs)
    assert set(pairs) < set(all_ordered_pairs(["A", "f", "g", "h", "B"]))
    assert set(tying_pairs(["A", "B"])) == {("A", "B"), ("B", "A")}


# ---------------------------------------------------------------- finding the code


@pytest.mark.parametrize(
    "changes",
    [{"dust3r_weights": ""}, {"dust3r_size_px": 500}, {"dust3r_batch_size": 0}, {"dust3r_pool": 2}],
)
def test_options_check_themselves(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes)).replace("_", "-")):
        Dust3rOptions(**changes)
    with pytest.raises(ValueError, match="is not a valid"):
        Dust3rOptions(alignment="theirs")  # type: ignore[arg-type]
