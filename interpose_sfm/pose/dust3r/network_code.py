"""Finds DUSt3R's network code: an installed `dust3r`, a checkout in third_party/, or `mini-dust3r` from PyPI."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import MappingProxyType, ModuleType

from interpose_sfm.registry import MissingDependencyError

logger = logging.getLogger(__name__)

INSTALL_COMMAND = "pip install --no-deps mini-dust3r==0.1.2"
"""Without --no-deps pip would exchange numpy for an old one, for the sake of viewers that are not used here."""

NEEDS: Mapping[str, str] = MappingProxyType(
    {
        "torch": "pip install torch torchvision",
        "torchvision": "pip install torch torchvision",
        "cv2": "pip install opencv-python",
        "einops": "pip install einops",
        "huggingface_hub": "pip install huggingface_hub",
        "roma": "pip install roma",
        "safetensors": "pip install safetensors",
    }
)
"""What the published code imports, module -> pip command."""

MINI_NEEDS: Mapping[str, str] = MappingProxyType(
    {"beartype": "pip install beartype", "jaxtyping": "pip install jaxtyping"}
)
"""What mini-dust3r needs beyond that."""

CHECKOUT = Path(__file__).resolve().parents[3] / "third_party" / "dust3r"
"""Where a source tree may hold the full code."""


@dataclass(frozen=True)
class NetworkCode:
    """The published code.

    Attributes:
        package: Name of its top module, ``dust3r`` or ``mini_dust3r``; both have the same modules inside.
        source: Where it was found, for messages.
    """

    package: str
    source: str

    def module(self, name: str) -> ModuleType:
        """Import one of its modules, such as ``model`` or ``cloud_opt``."""
        with _quiet_import():
            return importlib.import_module(f"{self.package}.{name}")


def missing_requirements() -> dict[str, str]:
    """What is not installed of what DUSt3R needs: module -> pip command. Imports nothing."""
    wanted = dict(NEEDS)
    if _checkout() is None and importlib.util.find_spec("dust3r") is None:
        wanted |= {"mini_dust3r": INSTALL_COMMAND, **MINI_NEEDS}
    return {name: command for name, command in wanted.items() if importlib.util.find_spec(name) is None}


def find_network_code() -> NetworkCode:
    """Find the code, the full one before the small one.

    Raises:
        MissingDependencyError: None is there, or a checkout lacks its sub-module; the message holds the command.
    """
    if importlib.util.find_spec("dust3r") is not None:
        return NetworkCode("dust3r", "the installed package dust3r")
    checkout = _checkout()
    if checkout is not None:
        _make_importable(checkout)
        return NetworkCode("dust3r", str(checkout))
    if importlib.util.find_spec("mini_dust3r") is not None:
        return NetworkCode("mini_dust3r", "the installed package mini-dust3r")
    raise MissingDependencyError(f"the network code of DUSt3R is not installed; try: {INSTALL_COMMAND}")


def _checkout() -> Path | None:
    return CHECKOUT if (CHECKOUT / "dust3r" / "model.py").is_file() else None


def _make_importable(checkout: Path) -> None:
    """Enter the checkout's package into the table of modules, so that the search path stays as it is."""
    if "dust3r" in sys.modules:
        return
    if not (checkout / "croco" / "models").is_dir():
        raise MissingDependencyError(
            f"{checkout} lacks its sub-module croco; try: git -C {checkout} submodule update --init --recursive"
        )
    package = checkout / "dust3r"
    spec = importlib.util.spec_from_file_location(
        "dust3r", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert isinstance(spec, ModuleSpec)
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dust3r"] = module
    spec.loader.exec_module(module)


@contextmanager
def _quiet_import() -> Iterator[None]:
    """Undo what the published code does when it is imported: it prints, warns, and edits the search path."""
    path, said = list(sys.path), io.StringIO()
    try:
        with contextlib.redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.path[:] = path
        if said.getvalue().strip():
            logger.debug("the network code says: %s", said.getvalue().strip())
