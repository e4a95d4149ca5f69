"""Text files that people write, whose editors differ."""

from __future__ import annotations

from pathlib import Path


def check_file(path: Path, what: str, expected: str) -> None:
    """Look whether a file that a user names is there.

    Args:
        path: The file.
        what: What it is, and `expected` what is in one, for the message.

    Raises:
        ValueError: It is not, or is no file.
    """
    if not path.is_file():
        raise ValueError(f"there is no {what} {path}; expected a text file with {expected}")


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
