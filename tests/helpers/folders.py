"""Folders with known files."""

from __future__ import annotations

from pathlib import Path


def fill(folder: Path, content: str) -> None:
    (folder / "sub").mkdir()
    for name in ("a", "sub/b", "sub/c"):
        (folder / name).write_text(content)


def contents(folder: Path) -> list[str]:
    return [(folder / name).read_text() for name in ("a", "sub/b", "sub/c")]
