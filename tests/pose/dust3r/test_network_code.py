from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from interpose_sfm.pose.dust3r import network_code
from interpose_sfm.registry import MissingDependencyError

FIND = (
    "import sys; path = list(sys.path); from interpose_sfm.pose.dust3r import network_code as n; {edit};"
    "code = n.find_network_code(); print(code.package, path == sys.path, code.module('model').NAME, path == sys.path)"
)


def test_a_checkout_is_found_without_touching_the_search_path(tmp_path: Path) -> None:
    """It comes before mini-dust3r; the one of the test stands in its place."""
    package = tmp_path / "checkout" / "dust3r"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model.py").write_text("import sys; sys.path.insert(0, 'x'); print('noise'); NAME = 'from a checkout'\n")
    edit = f"from pathlib import Path; n.CHECKOUT = Path({str(package.parent)!r})"
    run = [sys.executable, "-c", FIND.format(edit=edit)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert "git -C" in done.stderr
    assert "submodule update --init --recursive" in done.stderr
    (package.parent / "croco" / "models").mkdir(parents=True)
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "dust3r True from a checkout True", done.stderr


def test_missing_code_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(network_code, "CHECKOUT", tmp_path)
    monkeypatch.setitem(sys.modules, "mini_dust3r", None)
    monkeypatch.setitem(sys.modules, "dust3r", None)
    assert network_code.missing_requirements()["mini_dust3r"] == network_code.INSTALL_COMMAND
    with pytest.raises(MissingDependencyError, match="pip install --no-deps mini-dust3r"):
        network_code.find_network_code()
