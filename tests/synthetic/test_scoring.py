from __future__ import annotations

import numpy as np
import pytest

from interpose_sfm.products import Pose
from interpose_sfm.synthetic import (
    Viewpoint,
    auc,
    orbit,
    pose_errors_deg,
)
from rendered import rotation_about


def test_pose_errors_ignore_frame_and_scale_and_see_everything_else() -> None:
    truth = dict(zip("abcd", orbit(Viewpoint(0, 9, 1, (0, 0, 1)), Viewpoint(60, 9, 2, (0, 0, 1)), 4), strict=True))
    world_from_other = Pose(rotation_about(0, 33.0), np.array([3.0, -1.0, 2.0]))
    moved = {name: pose @ world_from_other for name, pose in truth.items()}
    scaled = {name: Pose(pose.rotation, 2.5 * pose.translation) for name, pose in moved.items()}
    assert pose_errors_deg(truth, scaled).shape == (6,)
    assert pose_errors_deg(truth, scaled).max() < 1e-6
    turned = scaled | {"b": Pose(rotation_about(2, 7.0), np.zeros(3)) @ scaled["b"]}
    errors = pose_errors_deg(truth, turned)  # pairs ab ac ad bc bd cd
    assert np.abs(errors[[0, 3, 4]] - 7.0).max() < 1e-6
    assert errors[[1, 2, 5]].max() < 1e-6
    flipped = {name: Pose(pose.rotation, -pose.translation) for name, pose in scaled.items()}
    assert pose_errors_deg(truth, flipped).max() > 100.0
    del scaled["c"]
    assert np.array_equal(pose_errors_deg(truth, scaled | {"other": truth["a"]}) == 180.0, [0, 1, 0, 1, 0, 1])


def test_auc_of_simple_curves() -> None:
    assert auc([0.0, 0.0], 5.0) == pytest.approx(100.0)
    assert auc([180.0, 5.0], 5.0) == 0.0
    # Recall rises evenly to 1 at one degree and stays.
    assert auc([1.0], 5.0) == pytest.approx(100.0 * (0.5 + 4.0) / 5.0)
    assert auc([1.0, 180.0], 5.0) == pytest.approx(100.0 * (0.25 + 2.0) / 5.0)
    with pytest.raises(ValueError, match="positive threshold"):
        auc([], 5.0)
