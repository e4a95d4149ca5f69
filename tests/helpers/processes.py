"""Scripts in processes of their own, for tests that kill them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from paths import ROOT


def start(script: str, *args: object, has_input: bool = False) -> subprocess.Popen[str]:
    """Run a script; its output lines can be read as they come, and lines be sent if it has input."""
    command = [sys.executable, "-u", "-c", script, *map(str, args)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    stdin = subprocess.PIPE if has_input else None
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True, env=environment)


def kill(process: subprocess.Popen[str]) -> str:
    """Kill a script; returns what it had still to say."""
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    return output
