"""Native modules are loaded as a whole."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from interpose_sfm.colmap.point_cloud import load_whole

MODULE = """
import signal
signal.raise_signal(signal.SIGINT)
is_whole = True
"""


def test_a_signal_waits_until_the_module_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        load_whole("slow_module")
    assert sys.modules["slow_module"].is_whole
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_signal_it_is_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quiet_module.py").write_text("value = 1")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_whole("quiet_module").value == 1
    with pytest.raises(ModuleNotFoundError):
        load_whole("no_such_module")
