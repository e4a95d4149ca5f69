"""Where the cameras of the collections with truth stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from interpose_sfm.products import Pose


def true_pose(camera: Mapping[str, Any]) -> Pose:
    """cam_from_world of an entry of a collection's cameras.json."""
    rotation = np.array(camera["cam_from_world_R"])
    return Pose(rotation, -rotation @ np.array(camera["center"]))
