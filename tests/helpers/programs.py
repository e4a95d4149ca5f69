"""Python programs in processes of their own, with and without the hook."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from paths import ROOT


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def python(*arguments: str | Path, cwd: Path = ROOT) -> Done:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def hook(*arguments: str | Path, cwd: Path = ROOT) -> Done:
    return python("-m", "interpose_sfm", "hook", *arguments, cwd=cwd)
