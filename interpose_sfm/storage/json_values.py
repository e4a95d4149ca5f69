"""Products as what JSON can hold."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np


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
