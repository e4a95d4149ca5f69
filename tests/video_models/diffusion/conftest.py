from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path, str], None]:
    """Puts a folder into an otherwise empty cache of the hub: (repository, folder, commit)."""
    from huggingface_hub import constants

    assert constants.HF_HUB_OFFLINE
    root = tmp_path / "hub"
    root.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))

    def add(repo: str, folder: Path, commit: str) -> None:
        home = root / f"models--{repo.replace('/', '--')}"
        shutil.copytree(folder, home / "snapshots" / commit)
        (home / "refs").mkdir()
        (home / "refs/main").write_text(commit)

    return add
