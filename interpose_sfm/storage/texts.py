"""Text files that people write, whose editors differ."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path) -> str:
    """The text of a file in UTF-8; the mark at its beginning by which some editors say so is no part of it.

    Raises:
        ValueError: It is in another encoding; the message names the file.
        OSError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 (at byte {error.start}); save it in that encoding") from error
