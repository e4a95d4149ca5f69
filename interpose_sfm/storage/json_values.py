"""Products as what JSON can hold, and back."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

_T = TypeVar("_T")


def to_jsonable(value: object, where: str = "$") -> Any:
    """Turn a product into what JSON can hold: null, booleans, numbers, strings, lists, objects.

    NaN and infinities become null, enums their value, dataclasses objects, paths their POSIX form, sets sorted lists.

    Args:
        value: What `content_key` takes except bytes; the keys of mappings are strings, enums, paths or integers.
        where: The place of the value in the document, for messages.

    Raises:
        TypeError: if a value or a key has no JSON form.
        ValueError: if two keys of a mapping have the same JSON form.
    """
    if isinstance(value, Enum):
        return to_jsonable(value.value, where)
    if value is None or isinstance(value, (bool, np.bool_)):
        return None if value is None else bool(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, np.ndarray):
        return to_jsonable(value.tolist(), where)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_jsonable(getattr(value, f.name), f"{where}.{f.name}") for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [to_jsonable(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return sorted((to_jsonable(item, f"{where}{{}}") for item in value), key=lambda item: json.dumps(item))
    if isinstance(value, Mapping):
        return _json_object(value, where)
    raise TypeError(f"{where}: a {type(value).__name__} has no JSON form")


def _json_object(mapping: Mapping[Any, object], where: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in mapping.items():
        name = to_jsonable(key, where) if isinstance(key, (str, int, np.integer, Enum, PurePath)) else None
        if name is None or isinstance(name, (bool, float, list, dict)):
            raise TypeError(f"{where}: {key!r} cannot be the key of a JSON object, expected a string or an integer")
        if str(name) in result:
            raise ValueError(f"{where}: two keys have the JSON form {str(name)!r}")
        result[str(name)] = to_jsonable(item, f"{where}.{name}")
    return result


def from_jsonable(kind: type[_T], document: object, where: str = "$") -> _T:
    """The dataclass that `to_jsonable` has turned into JSON, checked field by field.

    Fields that the document lacks get their defaults, so that a document of an earlier version can be read; what it has
    beyond the fields is passed over. A null is NaN where a number is expected.

    Args:
        kind: A dataclass of plain values, enums, tuples, mappings with text keys, and further dataclasses.
        document: What `json.loads` returned.
        where: The place of the value in the document, for messages.

    Raises:
        ValueError: The document is no such dataclass; the message says where.
    """
    return _typed(kind, document, where)  # type: ignore[no-any-return]


def _typed(kind: Any, value: object, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _dataclass_of(kind, value, where)
    if kind is Any or (kind is NoneType and value is None):
        return value
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        (kind,) = (argument for argument in arguments if argument is not NoneType)
        return _typed(kind, value, where)
    if origin is tuple and isinstance(value, list):
        if arguments[-1] is Ellipsis:
            return tuple(_typed(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if len(arguments) == len(value):
            pairs = enumerate(zip(arguments, value, strict=True))
            return tuple(_typed(argument, item, f"{where}[{i}]") for i, (argument, item) in pairs)
    if origin is Mapping and isinstance(value, dict):
        return {name: _typed(arguments[1], item, f"{where}.{name}") for name, item in value.items()}
    if kind is float and value is None:
        return math.nan
    if kind is float and isinstance(value, (int, float)) and abs(value) <= sys.float_info.max:
        return value  # a flag is a number, as in Python
    if origin is None and isinstance(kind, type):
        if issubclass(kind, Enum) and value in [member.value for member in kind]:
            return kind(value)
        if kind in (str, bool, int) and type(value) is kind:
            return value
    raise ValueError(f"{where}: got {value!r:.80}, expected {getattr(kind, '__name__', kind)}")


def _dataclass_of(kind: Any, value: object, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: got {value!r:.80}, expected an object")
    hints, fields = get_type_hints(kind), dataclasses.fields(kind)
    missing = dataclasses.MISSING
    needed = {f.name for f in fields if f.default is missing and f.default_factory is missing} - value.keys()
    if needed:
        raise ValueError(f"{where}: there is no {', '.join(sorted(needed))}")
    names = [f.name for f in fields if f.name in value]
    return kind(**{name: _typed(hints[name], value[name], f"{where}.{name}") for name in names})
