"""The one way to the terminal: what a name, a file or a service says is shown, and never obeyed.

A control character in the name of a clip could move the cursor, change the title, or end a line and begin one that
looks like ours.
"""

from __future__ import annotations

import sys
import unicodedata
from typing import TextIO

PROGRAM = "interpose_sfm"

_INDENT = "    "


def escaped(text: str) -> str:
    r"""A text on one line: what is no letter, mark, number, sign or space of some kind becomes ``\x1b`` and the like.

    Among these are controls, line ends, marks that change the direction of writing, and halves of characters.
    """
    if text.isprintable():
        return text
    return "".join(letter if _is_shown(letter) else _code(letter) for letter in text)


def _is_shown(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"


def _code(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def lines(text: str) -> str:
    """A text of several lines, each `escaped`. Only for what was put together here, of parts that are."""
    return "\n".join(map(escaped, text.split("\n")))


def message(text: str) -> str:
    """What is said of something: lines after the first are indented, so that none can pass for another message."""
    return lines(text).replace("\n", f"\n{_INDENT}")


def show(text: str, stream: TextIO | None = None) -> None:
    """Print lines, to stdout by default."""
    print(lines(text), file=stream)


def tell(text: str) -> None:
    """Print a message of the program to stderr."""
    print(message(f"{PROGRAM}: {text}"), file=sys.stderr)
