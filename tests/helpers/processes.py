"""Scripts in processes of their own, for tests that kill them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from paths import ROOT


def start(script: str, *args: object) -> subprocess.Popen[str]:
    """Run a script; its output lines can be read as they come."""
    command = [sys.executable, "-u", "-c", script, *map(str, args)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def kill(process: subprocess.Popen[str]) -> str:
    """Kill a script; returns what it had still to say."""
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    return output
