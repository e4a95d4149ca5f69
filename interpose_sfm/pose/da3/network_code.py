"""Finds the published network classes of Depth Anything 3, and imports those alone."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from types import MappingProxyType, ModuleType
from typing import Any

from interpose_sfm.registry import MissingDependencyError

INSTALL_COMMAND = "pip install --no-deps depth-anything-3==0.1.1"
"""Without --no-deps pip would exchange numpy for an old one, and bring xformers and viewers that are not used here."""

NEEDS: Mapping[str, str] = MappingProxyType(
    {
        "torch": "pip install torch torchvision",
        "addict": "pip install addict",
        "einops": "pip install einops",
        "omegaconf": "pip install omegaconf",
        "safetensors": "pip install safetensors",
        "depth_anything_3": INSTALL_COMMAND,
    }
)
"""What the network classes and their weights need, module -> pip command."""

_CONFIGURATION = "depth_anything_3.cfg"


@dataclass(frozen=True)
class NetworkCode:
    """The published classes.

    Attributes:
        network, backbone, head, camera_decoder, camera_encoder: Classes of ``depth_anything_3.model``.
        version: Of the distribution.
    """

    network: Any
    backbone: Any
    head: Any
    camera_decoder: Any
    camera_encoder: Any
    version: str


def missing_requirements() -> dict[str, str]:
    """What is not installed: module -> pip command. Imports nothing."""
    return {name: command for name, command in NEEDS.items() if find_spec(name) is None}


def load_network_code() -> NetworkCode:
    """Import the classes, without what else the package brings.

    Raises:
        MissingDependencyError: Something is not installed; the message holds the command.
    """
    missing = missing_requirements()
    if missing:
        needs = "; ".join(f"{module} ({command})" for module, command in missing.items())
        raise MissingDependencyError(f"Depth Anything 3 needs what is not installed: {needs}")
    with _without_configuration(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.jit.script, which the published code still uses
        network = importlib.import_module("depth_anything_3.model.da3")
        backbone = importlib.import_module("depth_anything_3.model.dinov2.dinov2")
        head = importlib.import_module("depth_anything_3.model.dualdpt")
        decoder = importlib.import_module("depth_anything_3.model.cam_dec")
        encoder = importlib.import_module("depth_anything_3.model.cam_enc")
        log = importlib.import_module("depth_anything_3.utils.logger")
    log.logger.level = min(log.logger.level, log.LOG_LEVELS["WARN"])  # it prints what it does, with every picture
    return NetworkCode(
        network.DepthAnything3Net,
        backbone.DinoV2,
        head.DualDPT,
        decoder.CameraDec,
        encoder.CameraEnc,
        metadata.version("depth-anything-3"),
    )


@contextmanager
def _without_configuration() -> Iterator[None]:
    """Keep the published code from importing its configuration, which makes Python's eval known to OmegaConf.

    The network classes need nothing of it where they are given modules instead of descriptions of modules.
    """
    if _CONFIGURATION in sys.modules:  # somebody else's doing
        yield
        return
    stand_in = ModuleType(_CONFIGURATION)
    stand_in.create_object = _refuse  # type: ignore[attr-defined]
    sys.modules[_CONFIGURATION] = stand_in
    try:
        yield
    finally:
        del sys.modules[_CONFIGURATION]


def _refuse(description: object) -> None:
    raise ValueError(f"got the description {description!r:.100}, expected a network that is built already")
