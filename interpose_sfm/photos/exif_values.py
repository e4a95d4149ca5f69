"""Values of EXIF as cameras mean them."""

from __future__ import annotations

from typing import Any


def text_of(value: Any) -> str:
    """Text up to the first NUL, printable, single spaces; empty for what is no text."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""
    printable = "".join(char if char.isprintable() else " " for char in text.split("\0")[0])
    return " ".join(printable.split())
