"""The viewer: what it shows, without anybody looking at it."""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path

import pytest

from interpose_sfm.registry import MissingDependencyError
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.workflows.view_models import AFTER, BEFORE, opened_view
from page_scene import SIZE_PX, model_of, plain_names, write_run

NAMES = plain_names(6)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Six photos in the final model, three in that of COLMAP."""
    root = write_run(tmp_path / "run", NAMES)
    (root / "base" / "models" / "0").mkdir(parents=True)
    model_of(NAMES[:3], SIZE_PX, 0).write(root / "base" / "models" / "0")
    return root


def test_models_before_and_after_are_served(output: Path) -> None:
    pytest.importorskip("viser", reason="viser is not installed (pip install '.[view]')")
    with opened_view(output, port=18080) as view:
        assert view.num_cameras == {BEFORE: 3, AFTER: 6}
        assert view.num_links == 2  # of three weak pairs one was not tried
        with urllib.request.urlopen(view.url, timeout=30) as answer:
            assert b"<html" in answer.read().lower()
        nodes = {handle.name: handle for state in (BEFORE, AFTER) for handle in view.handles[state]}
        assert {name for name in nodes if name.startswith("/after/")} == {
            "/after/0/points",
            *(f"/after/0/cameras/{index}" for index in range(6)),
            "/after/0/links/accepted",
            "/after/0/links/refused",
        }
        assert nodes["/after/0/points"].visible
        assert not nodes["/before/0/points"].visible
        assert nodes["/after/0/cameras/0"].image is not None


def test_it_says_what_it_needs(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(MissingDependencyError, match="pip install viser"), opened_view(output):
        pass


def test_a_folder_without_models_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("viser", reason="viser is not installed (pip install '.[view]')")
    with pytest.raises(ValueError, match="no output folder"), opened_view(tmp_path):
        pass
    with Workspace(tmp_path / "run").locked():
        pass
    with pytest.raises(ValueError, match="holds no model"), opened_view(tmp_path / "run"):
        pass
