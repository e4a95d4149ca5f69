"""Links never make the models of COLMAP's global mapper worse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import pytest

from geometry_scenes import (
    turned,
    worst_error_deg,
)
from hook_scene import QUICK, Apart
from interpose_sfm.colmap import global_mapper
from interpose_sfm.joining import global_final_mapping
from interpose_sfm.options import ReconstructOptions
from interpose_sfm.workflows import reconstruct
from two_groups_of_views import BRIDGE, OPTIONS, SCENE, TRUTH, add_link, store, stored_pose, two_groups


def test_a_link_joins_the_groups(tmp_path: Path) -> None:
    path = two_groups(tmp_path / "database.db")
    base = global_mapper.map_base(path, tmp_path, tmp_path / "models", OPTIONS, 0)
    add_link(path)
    before = stored_pose(path, *BRIDGE)
    warnings: list[str] = []
    models = global_final_mapping.map_all_photos(base, path, tmp_path, tmp_path / "linked", OPTIONS, 0, warnings)
    assert [model.num_reg_images() for model in models] == [7]
    assert worst_error_deg(models[0], TRUTH) < 0.5
    assert warnings == []
    after = stored_pose(path, *BRIDGE)
    np.testing.assert_array_equal(after.rotation, before.rotation)
    np.testing.assert_array_equal(after.translation, before.translation)


def test_without_gain_the_base_models_are_kept(tmp_path: Path) -> None:
    path = two_groups(tmp_path / "database.db")
    base = global_mapper.map_base(path, tmp_path, tmp_path / "models", OPTIONS, 0)
    models = global_final_mapping.map_all_photos(base, path, tmp_path, tmp_path / "linked", OPTIONS, 0, [])
    assert [model is old for model, old in zip(models, base, strict=True)] == [True, True]


def test_worse_than_the_base_is_refused(tmp_path: Path) -> None:
    """Poses within a group that contradict its base model turn it."""
    path = two_groups(tmp_path / "database.db")
    base = global_mapper.map_base(path, tmp_path, tmp_path / "models", OPTIONS, 0)
    add_link(path)
    store(path, {(a, b): turned(SCENE.b_from_a(a, b), 50 * (b - a)) for a in range(4) for b in range(a + 1, 4)})
    warnings: list[str] = []
    models = global_final_mapping.map_all_photos(base, path, tmp_path, tmp_path / "linked", OPTIONS, 0, warnings)
    assert [model is old for model, old in zip(models, base, strict=True)] == [True, True]
    assert "kept as they were" in " ".join(warnings)


def test_reconstruct_with_the_global_mapper(apart: Apart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = pycolmap.global_mapping

    def count(*arguments: Any) -> Any:
        calls.append("global")
        return original(*arguments)

    monkeypatch.setattr(pycolmap, "global_mapping", count)
    (tmp_path / "out").mkdir()
    for file in apart.side_dir.glob("*.h5"):
        (tmp_path / "out" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "out" / ".interpose_sfm").write_bytes((apart.side_dir / ".interpose_sfm").read_bytes())
    options = ReconstructOptions(generator=QUICK.generator, base=OPTIONS)
    result = reconstruct.reconstruct(apart.photo_dir, tmp_path / "out", options)
    assert calls == ["global", "global"]  # base models, and with the links
    assert (result.report.num_registered_before, result.report.num_registered_after) == (3, 6)
    assert worst_error_deg(pycolmap.Reconstruction(result.model_dirs[0]), apart.truth.cam_from_world) < 1.0
    assert result.report.options["base"]["mapper"] == "global"
