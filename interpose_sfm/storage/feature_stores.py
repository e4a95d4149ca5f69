"""The HDF5 stores of learned features and matches."""

from __future__ import annotations

from typing import Any

import numpy as np

from interpose_sfm.products import Features, Matches
from interpose_sfm.storage.arrays import get_array, put_array
from interpose_sfm.storage.stores import Store


class FeatureStore(Store[Features]):
    """Features by photo name or content key."""

    kind = "features"

    def _write(self, group: Any, value: Features) -> None:
        n = len(value.keypoints_px)
        put_array(group, "keypoints_px", value.keypoints_px, np.float64, (n, 2))
        put_array(group, "descriptors", value.descriptors, np.float32, (n, None))
        put_array(group, "scores", value.scores, np.float32, (n,))
        put_array(group, "size_px", np.array(value.size_px, dtype=np.int64), np.int64, (2,))

    def _read(self, group: Any) -> Features:
        width, height = get_array(group, "size_px", np.int64, (2,)).tolist()
        keypoints_px = get_array(group, "keypoints_px", np.float64, (None, 2))
        n = len(keypoints_px)
        return Features(
            keypoints_px=keypoints_px,
            descriptors=get_array(group, "descriptors", np.float32, (n, None)),
            scores=get_array(group, "scores", np.float32, (n,)),
            size_px=(width, height),
        )


class MatchStore(Store[Matches]):
    """Matches by a key of both images, see `store_key`."""

    kind = "matches"

    def _write(self, group: Any, value: Matches) -> None:
        n = len(value.indices)
        put_array(group, "indices", value.indices, np.uint32, (n, 2))
        put_array(group, "scores", value.scores, np.float32, (n,))

    def _read(self, group: Any) -> Matches:
        indices = get_array(group, "indices", np.uint32, (None, 2))
        return Matches(indices=indices, scores=get_array(group, "scores", np.float32, (len(indices),)))
