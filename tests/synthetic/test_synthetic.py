"""The renderer against analytic geometry, the scenes against what they promise, and the collection on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interpose_sfm.products import Intrinsics
from interpose_sfm.synthetic import (
    RenderOptions,
    SampleOptions,
    Scene,
    look_at,
    make_texture,
    render,
    write_clip,
)


@pytest.mark.parametrize("bad", [{"width_px": 10}, {"photos_per_group": 2}, {"gap_deg": 170.0}, {"step_deg": 0.0}])
def test_impossible_options_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        SampleOptions(**bad)  # type: ignore[arg-type]


def test_impossible_cameras_and_textures_are_refused(courtyard: Scene, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="folds"):
        render(courtyard, Intrinsics(240, 180, 100.0, 120.0, 90.0, (-0.3,)), look_at((0, -9, 2), (0, 0, 2)))
    with pytest.raises(ValueError, match="focal"):
        render(courtyard, Intrinsics(240, 180, 0.0, 120.0, 90.0), look_at((0, -9, 2), (0, 0, 2)))
    with pytest.raises(ValueError, match="supersampling"):
        RenderOptions(supersampling=0)
    with pytest.raises(ValueError, match="positive"):
        make_texture(np.random.default_rng(0), (0.0, 1.0), 10.0)
    with pytest.raises(ValueError, match="even"):
        write_clip(tmp_path / "odd.mp4", [np.zeros((33, 64, 3), np.uint8)])
    with pytest.raises(ValueError, match="none"):
        write_clip(tmp_path / "none.mp4", [])
