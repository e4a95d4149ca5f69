"""Crash-safe HDF5 stores of what pair-wise networks compute: encoder features and point maps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interpose_sfm.pose.dust3r.network import Encoding
from interpose_sfm.pose.point_maps.maps import PointMaps
from interpose_sfm.storage.stores import Store


class EncodingStore(Store[Encoding]):
    """Encoder features by a key of image content, weights and options."""

    kind = "encodings"

    def _write(self, group: Any, value: Encoding) -> None:
        group.create_dataset("tokens", data=_float32("tokens", value.tokens, 2))
        group.create_dataset("shape", data=np.array(value.shape, dtype=np.int64))

    def _read(self, group: Any) -> Encoding:
        height, width = group["shape"][()].tolist()
        return Encoding(group["tokens"][()], (height, width))


class PointMapStore(Store[PointMaps]):
    """Point maps by a key of both images' content, weights and options."""

    kind = "point maps"

    def _write(self, group: Any, value: PointMaps) -> None:
        for name, dimensions in (("points_i", 3), ("conf_i", 2), ("points_j_in_i", 3), ("conf_j", 2)):
            group.create_dataset(name, data=_float32(name, getattr(value, name), dimensions))

    def _read(self, group: Any) -> PointMaps:
        return PointMaps(*(group[name][()] for name in ("points_i", "conf_i", "points_j_in_i", "conf_j")))


@dataclass(frozen=True)
class NetworkStores:
    """Both stores of a run."""

    encodings: EncodingStore
    point_maps: PointMapStore


@contextmanager
def open_network_stores(folder: Path) -> Iterator[NetworkStores]:
    """The stores in a folder, closed at the end; they leave no file where no network ran."""
    with (
        EncodingStore(folder / "encodings.h5") as encodings,
        PointMapStore(folder / "point_maps.h5") as point_maps,
    ):
        yield NetworkStores(encodings, point_maps)


def _float32(name: str, array: Any, dimensions: int) -> Any:
    values = np.asarray(array)
    if values.dtype != np.float32 or values.ndim != dimensions:
        raise ValueError(f"{name}: got {values.dtype} {values.shape}, expected float32 of {dimensions} dimensions")
    return values
