"""What JSON files hold of our values."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from enum import Enum
from pathlib import Path

import numpy as np
import pytest

from interpose_sfm.storage.atomic import (
    atomic_write_json,
)


class Colour(str, Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Options:
    size: int = 1
    name: object = "a"


def test_json_holds_products(tmp_path: Path) -> None:
    value = {
        "z": math.nan, "inf": -math.inf, "f32": np.float32(0.5), "i": np.int64(7), "b": np.True_, "enum": Colour.RED,
        "path": Path("a") / "ä.jpg", "options": Options(name=(1, None)), "array": np.array([[1.0, np.nan]]),
        Colour.RED: [True], 5: {"b", "a"}, "long": np.longdouble(2),
    }  # fmt: skip
    path = tmp_path / "ö.json"
    atomic_write_json(path, value, sort_keys=True)
    text = path.read_text(encoding="utf-8")
    assert "ä.jpg" in text
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert json.loads(text) == {
        "z": None, "inf": None, "f32": 0.5, "i": 7, "b": True, "enum": "red", "path": "a/ä.jpg",
        "options": {"size": 1, "name": [1, None]}, "array": [[1.0, None]], "red": [True], "5": ["a", "b"], "long": 2.0,
    }  # fmt: skip
    atomic_write_json(path, {"b": 1, "a": 2})
    assert list(json.loads(path.read_text())) == ["b", "a"]


def test_json_of_a_name_that_is_not_unicode(tmp_path: Path) -> None:
    atomic_write_json(tmp_path / "a.json", ["\udcff", "ä"])
    assert json.loads((tmp_path / "a.json").read_bytes()) == ["\udcff", "ä"]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"a": [object()]}, TypeError, r"\$\.a\[0\]: a object has no JSON form"),
        ({"a": b"x"}, TypeError, "bytes"),
        ({(1, 2): 1}, TypeError, "cannot be the key"),
        ({True: 1}, TypeError, "cannot be the key"),
        ({None: 1}, TypeError, "cannot be the key"),
        ({1: 1, "1": 2}, ValueError, "two keys"),
        (1j, TypeError, "complex"),
    ],
)
def test_json_refuses_the_rest_and_keeps_the_file(
    tmp_path: Path, value: object, error: type[Exception], message: str
) -> None:
    path = tmp_path / "a.json"
    atomic_write_json(path, [1])
    with pytest.raises(error, match=message):
        atomic_write_json(path, value)
    assert json.loads(path.read_text()) == [1]
    assert os.listdir(tmp_path) == ["a.json"]
