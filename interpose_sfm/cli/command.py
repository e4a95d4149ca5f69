"""What all commands have in common."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar, TextIO

import tyro

from interpose_sfm.run_log import Progress

OK, FAILED, UNUSABLE, ENVIRONMENT, NOT_EXTENDED, DEFECT = 0, 1, 2, 3, 4, 70
"""Exit codes."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What all commands have in common.

    Attributes:
        verbose: Say more, COLMAP's own messages and tracebacks included.
        quiet: Say less: errors, and results that are not written to a file.
        json: Print the result as JSON; everything else goes to stderr.
    """

    verbose: Annotated[bool, tyro.conf.arg(aliases=["-v"])] = False
    quiet: Annotated[bool, tyro.conf.arg(aliases=["-q"])] = False
    json: bool = False

    hidden_options: ClassVar[frozenset[str]] = frozenset()
    """Options, and groups of them, that would have no effect."""
    keeps_its_work: ClassVar[bool] = False
    """Whether the same command goes on where an interrupted one stopped."""

    def run(self, progress: Progress) -> Outcome:
        """Do the work."""
        raise NotImplementedError


@dataclass(frozen=True)
class Outcome:
    """What a command has to say.

    Attributes:
        code: Exit code.
        text: For people.
        data: For programs, anything that `to_jsonable` takes.
        is_optional: True if the text tells nothing that is not on disk.
    """

    code: int
    text: str
    data: object
    is_optional: bool = False


@contextmanager
def reader_may_leave(stdout: TextIO) -> Iterator[None]:
    """What is printed is for a reader, such as head, who may have seen enough before its end."""
    try:
        yield
        stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
