"""A row of the doctor: what was checked, what came of it, and the command that mends it."""

from __future__ import annotations

import ctypes
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from types import MappingProxyType
from typing import TYPE_CHECKING

from interpose_sfm._compat import StrEnum

if TYPE_CHECKING:
    from packaging.requirements import Requirement

logger = logging.getLogger(__name__)

DEBIAN_PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "libEGL.so.1": "libegl1",
        "libGL.so.1": "libgl1",
        "libX11.so.6": "libx11-6",
        "libgomp.so.1": "libgomp1",
        "libidn2.so.0": "libidn2-0",
        "libudev.so.1": "libudev1",
        "libusb-1.0.so.0": "libusb-1.0-0",
        "libglib-2.0.so.0": "libglib2.0-0",
        "libgthread-2.0.so.0": "libglib2.0-0",
        "libxcb.so.1": "libxcb1",
    }
)
"""Shared libraries that the wheels expect from the system, and the Debian packages that hold them."""

_DISTRIBUTION = "interpose_sfm"
_PIP_NAMES = {"cv2": "opencv-python", "PIL": "pillow"}
REINSTALL = "--force-reinstall --no-deps"
_MISSING_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file")


class CheckKind(StrEnum):
    """What a checked thing is used for."""

    MAPPER = "mapper"
    OPTIMISER = "optimiser"
    POINT_CLOUD = "point cloud"
    STORE = "store"
    NETWORKS = "networks"
    DEVICE = "device"
    MATCHER = "matcher"
    VIDEO_READER = "video reader"
    GENERATOR = "generator"
    POSE_ESTIMATOR = "pose estimator"
    RETRIEVER = "retriever"
    ENGINE = "engine"
    COMMAND_LINE = "command line"


@dataclass(frozen=True)
class BackendCheck:
    """Whether one backend is usable here.

    Attributes:
        kind: What it is used for.
        name: Its name: a distribution, a device, or the name under which a generator or another backend is chosen.
        usable: True if the check did its piece of work.
        detail: Version and abilities, or what is wrong; one line.
        remedy: The command that makes it usable; empty if nothing is to be done or no command helps.
        lacks_gpu: True if it would work, and there is no GPU here, without which it takes hours.
    """

    kind: CheckKind
    name: str
    usable: bool
    detail: str
    remedy: str = ""
    lacks_gpu: bool = False


# ---------------------------------------------------------------- one check


class UnusableError(Exception):
    """A probe found something that is importable but of no use."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.remedy = remedy


def check(kind: CheckKind, name: str, probe: Callable[[], str], distribution: str = "") -> BackendCheck:
    """Run a probe, which returns the detail of a usable backend and raises for any other."""
    try:
        return BackendCheck(kind, name, True, probe())
    except Exception as error:  # a broken package may raise anything, and saying so is the purpose
        logger.debug("%s %s is not usable", kind, name, exc_info=True)
        return BackendCheck(kind, name, False, one_line(error), remedy_for(error, distribution))


def one_line(error: Exception) -> str:
    """What an error says, with its type where that tells more."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UnusableError | ImportError) else f"{type(error).__name__}: {text}".rstrip(": ")


def remedy_for(error: Exception, distribution: str = "") -> str:
    """The command that mends what a probe stumbled over; by default it reinstalls the distribution, if any."""
    if isinstance(error, UnusableError):
        return error.remedy
    library = _MISSING_LIBRARY.search(str(error))
    if library and library[1] in DEBIAN_PACKAGES:
        return f"sudo apt-get install {' '.join(_missing_debian_packages() | {DEBIAN_PACKAGES[library[1]]: None})}"
    module = error.name if isinstance(error, ModuleNotFoundError) else None
    if module and "." not in module and module != _DISTRIBUTION:
        return pip_command(_PIP_NAMES.get(module, module))
    return pip_command(distribution, flags=REINSTALL) if distribution else ""


def _missing_debian_packages() -> dict[str, None]:
    """Packages of all libraries that the loader does not find, so that one command installs them all."""
    missing: dict[str, None] = {}
    for library, package in DEBIAN_PACKAGES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing[package] = None
    return missing


def pip_command(*distributions: str, flags: str = "") -> str:
    """The command that installs what this package asks for."""
    requirements = [(name, _requirement(name)) for name in distributions]
    wanted = [f'"{known.name}{known.specifier}"' if known else name for name, known in requirements]
    return " ".join(["pip install", *flags.split(), *wanted])


def _requirement(distribution: str) -> Requirement | None:
    """What this package's metadata asks of a distribution; None if it asks nothing or is not installed itself."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    try:
        lines = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    wanted = canonicalize_name(distribution)
    return next((r for r in map(Requirement, lines) if canonicalize_name(r.name) == wanted), None)


def supported_version(distribution: str) -> str:
    """The installed version.

    Raises:
        UnusableError: It is outside of the bounds of this package.
    """
    version = metadata.version(distribution)
    requirement = _requirement(distribution)
    if requirement and not requirement.specifier.contains(version, prereleases=True):
        detail = f"version {version}, expected {requirement.specifier}"
        raise UnusableError(detail, pip_command(distribution))
    return version
