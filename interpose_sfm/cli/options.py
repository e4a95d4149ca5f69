"""Flags from the option dataclasses: their names, defaults and help texts are written down once, there."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Annotated, Any, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo


class UsageError(Exception):
    """Arguments that make no sense; the message says what would."""


def option_rules(hidden: frozenset[str], commands: type) -> ConstructorRegistry:
    """How tyro turns the package's option dataclasses into flags.

    Args:
        hidden: Options, and groups of them, that would have no effect.
        commands: Base of the commands themselves, which tyro treats as it does.
    """
    registry = ConstructorRegistry()

    @registry.struct_rule
    def rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        kind: Any = info.type
        if not dataclasses.is_dataclass(info.type) or issubclass(kind, commands):
            return None
        hints, texts = get_type_hints(kind, include_extras=True), attribute_texts(kind)
        defaults = info.default if isinstance(info.default, kind) else kind()
        specs = tuple(
            StructFieldSpec(
                name=option.name,
                type=_renamed(option.name, hints[option.name]),
                default=getattr(defaults, option.name),
                helptext=texts.get(option.name) or first_line(hints[option.name]),
            )
            for option in dataclasses.fields(kind)
            if option.name not in hidden
        )

        def build(**values: object) -> object:
            try:
                return kind(**values)
            except ValueError as error:  # tyro would put its own field names before our message
                raise UsageError(str(error)) from error

        return StructConstructorSpec(instantiate=build, fields=specs)

    return registry


def _renamed(name: str, hint: Any) -> Any:
    if name != "clip_dirs":
        return hint
    return Annotated[hint, tyro.conf.arg(name="clips", metavar="DIR [DIR ...]", help_behavior_hint="")]


def first_line(kind: Any) -> str:
    """Of the docstring of a dataclass; empty for anything else."""
    return (inspect.getdoc(kind) or "").partition("\n")[0] if dataclasses.is_dataclass(kind) else ""


def attribute_texts(kind: type) -> dict[str, str]:
    """Field -> text from the section "Attributes" of a docstring or a base's; several fields may share one text."""
    texts = {}
    for owner in reversed(kind.__mro__):
        section = inspect.cleandoc(owner.__doc__ or "").partition("Attributes:\n")[2]
        for entry in re.split(r"\n(?=    \w)", section.rstrip()):
            names, _, text = entry.partition(":")
            for name in names.split(","):
                texts[name.strip()] = " ".join(text.split()).replace("`", "")
    return texts
