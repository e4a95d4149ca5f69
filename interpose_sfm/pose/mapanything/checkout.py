"""Imports MapAnything's published classes from a checkout: its own files only, and nothing from the network.

The package of the checkout is not installed: its dependencies pin an old OpenCV and bring viewers. Its ``__init__``
files, which import every other model that it can run, are passed over. Its image encoder, DINOv2, is asked of
``torch.hub``, which would fetch code and run it; the same code lies in the checkout, and that is handed out instead.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from interpose_sfm.registry import MissingDependencyError

COMMIT = "f7ebafb4d8349776705aaa686cf928988d1bd7f4"
SOURCES_SHA256 = "fcdf2c45bda59f3561cb2b56a71f82167005f29f9232c6e542bd7e85d2486766"
"""Of the Python files of the package at this commit; see `sources_sha256`."""

NEEDS: Mapping[str, str] = MappingProxyType(
    {
        "torch": "pip install torch torchvision",
        "cv2": "pip install opencv-python",
        "einops": "pip install einops",
        "huggingface_hub": "pip install huggingface-hub",
        "safetensors": "pip install safetensors",
        "timm": "pip install --no-deps timm",
        "uniception": "pip install --no-deps uniception==0.1.7",
    }
)
"""What the classes import, module -> pip command."""

_PACKAGE = "mapanything"
_PASSED_OVER = (_PACKAGE, f"{_PACKAGE}.models", f"{_PACKAGE}.models.{_PACKAGE}")
_DINOV2 = "facebookresearch/dinov2"
_LOCK = threading.Lock()


@dataclass(frozen=True)
class PublishedCode:
    """The published classes.

    Attributes:
        network: ``MapAnything``.
        encoders: Module whose functions build the image encoders, by the names that they have at ``torch.hub``.
    """

    network: Any
    encoders: ModuleType


def default_dir() -> Path:
    """Where a checkout is looked for if the options name none."""
    return Path(__file__).resolve().parents[3] / "third_party" / "map-anything"


def missing_requirements() -> dict[str, str]:
    """What is not installed: module -> pip command. Imports nothing."""
    return {name: command for name, command in NEEDS.items() if find_spec(name) is None}


def check(folder: Path) -> Path:
    """See that a checkout is there and is the one that this package was written for.

    Returns:
        Its folder of Python files.

    Raises:
        ValueError: It is not there, or is another one.
    """
    package = folder / _PACKAGE
    if not package.is_dir():
        raise ValueError(
            f"got no checkout of MapAnything at {folder}, expected commit {COMMIT} (--mapanything-dir); "
            "third_party/README.md says how to get it"
        )
    if sources_sha256(package) != SOURCES_SHA256:
        raise ValueError(
            f"the Python files in {package} are not those of commit {COMMIT}; run there: git checkout {COMMIT}, and "
            "git status for what was changed"
        )
    return package


def sources_sha256(package: Path) -> str:
    """Hex digest of all Python files below a folder, with their names."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def load(folder: Path) -> PublishedCode:
    """Import the classes of a checkout.

    Raises:
        ValueError: See `check`; or classes of another checkout are in this process already.
        MissingDependencyError: Something that they import is not installed; the message holds the command.
    """
    missing = missing_requirements()
    if missing:
        needs = "; ".join(f"{module} ({command})" for module, command in missing.items())
        raise MissingDependencyError(f"MapAnything needs what is not installed: {needs}")
    package = check(folder)
    with _LOCK:
        for name in _PASSED_OVER:
            place = str(package.joinpath(*name.split(".")[1:]))
            known = sys.modules.get(name)
            if known is not None and list(getattr(known, "__path__", [])) != [place]:
                raise ValueError(f"another {name} is imported in this process already, expected the one in {package}")
            if known is None:
                stand_in = ModuleType(name)
                stand_in.__path__ = [place]
                sys.modules[name] = stand_in
        with redirect_stdout(StringIO()):
            network = importlib.import_module(f"{_PACKAGE}.models.{_PACKAGE}.model")
            encoders = importlib.import_module(f"{_PACKAGE}.models.external.dinov2.hub.backbones")
    return PublishedCode(network.MapAnything, encoders)


@contextmanager
def without_hub(code: PublishedCode) -> Iterator[None]:
    """While networks are built: DINOv2 from the checkout where ``torch.hub`` is asked for it, and nothing else."""
    import torch

    def local(repository: str, model: str, **options: object) -> Any:
        if repository != _DINOV2 or not hasattr(code.encoders, model):
            raise ValueError(f"got {model!r} of {repository!r}, which would be fetched; expected {_DINOV2}")
        return getattr(code.encoders, model)(pretrained=False)

    with _LOCK, redirect_stdout(StringIO()):
        before = torch.hub.load
        torch.hub.load = local  # type: ignore[assignment]
        try:
            yield
        finally:
            torch.hub.load = before
