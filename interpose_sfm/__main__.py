"""``python -m interpose_sfm``, and the command that is installed."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType


def entry() -> int:
    """Run the command line of this process; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # until a command has begun there is nothing to stop in order
        signal.signal(number, _leave)
    try:
        from interpose_sfm.cli.main import main
    except ModuleNotFoundError as error:
        return _without(error)
    return main()


def _leave(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


def _without(error: ModuleNotFoundError) -> int:
    """What remains where a module is missing that the command line is made with: what the doctor says of it."""
    if sys.argv[1:2] == ["doctor"]:
        with contextlib.suppress(ModuleNotFoundError):  # numpy is missing as well
            from interpose_sfm.cli import text
            from interpose_sfm.doctor import cannot_reconstruct, diagnose

            checks = diagnose()
            print(text.checks(checks, cannot_reconstruct(checks)))
            return 1
    print(f"interpose_sfm: error: {error}; install the package with all it needs: pip install .", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(entry())
