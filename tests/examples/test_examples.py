"""The scripts in examples/ do what they say, on photos that pycolmap leaves in two models."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path

import pycolmap
import pytest

import interpose_sfm
from geometry_scenes import worst_error_deg
from hook_scene import Apart
from paths import ROOT

EXAMPLES = ROOT / "examples"


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: Path) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_library(
    apart: Apart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = Path(shutil.copytree(apart.photo_dir, tmp_path / "photos"))
    apart.copy_stores(tmp_path / "photos.db")  # its folder is photos_interpose, so nothing is matched anew
    run(monkeypatch, "library.py", photos)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:1] == ["photos in the largest model: 3 -> 6"]
    assert lines[1].startswith("0: 6 photos, ")
    gap = apart.truth.gap
    assert any(line.startswith(f"{gap.a} and {gap.b}: accepted (") for line in lines)
    assert not any("is in no model" in line for line in lines)
    assert any(line.startswith("left_1.jpg and left_2.jpg: accepted, known to ") for line in lines)
    model = pycolmap.Reconstruction(tmp_path / "photos_interpose" / "sparse" / "0")
    assert worst_error_deg(model, apart.truth.cam_from_world) < 1.0


@pytest.mark.parametrize("is_hooked", [False, True])
def test_hloc_like_script(
    apart: Apart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_hooked: bool
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    if not is_hooked:
        run(monkeypatch, "hook_hloc_like.py", apart.photo_dir, output)
        assert sorted(path.name for path in output.iterdir() if path.is_dir()) == ["0", "1"]
        return
    apart.copy_stores(output / "database.db")
    with interpose_sfm.installed():
        run(monkeypatch, "hook_hloc_like.py", apart.photo_dir, output)
    assert capsys.readouterr().out.startswith("model 0: 6 photos, ")
    assert worst_error_deg(pycolmap.Reconstruction(output / "0"), apart.truth.cam_from_world) < 1.0
