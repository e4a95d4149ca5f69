"""What JSON files hold of our values."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpose_sfm.storage.atomic import (
    atomic_write_json,
)
from interpose_sfm.storage.json_values import from_jsonable, to_jsonable


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


def test_lists_of_numbers_take_one_line(tmp_path: Path) -> None:
    value = {"a": [[1, -2.5e-07, None], [3.0]], "b": ["[\n1\n]", "2"], "c": [], "d": [{"e": [4]}], "f": [True]}
    atomic_write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == value
    assert [line.strip() for line in text.splitlines()[:5]] == ["{", '"a": [', "[1, -2.5e-07, null],", "[3.0]", "],"]


# ---------------------------------------------------------------- and back


@dataclasses.dataclass(frozen=True)
class Part:
    colour: Colour
    weights: tuple[float, ...]
    place: tuple[int, str] | None = None


@dataclasses.dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    by_name: Mapping[str, float]
    is_new: bool = False
    anything: Any = None


WHOLE = Whole((Part(Colour.RED, (1.5, 2), (3, "x")), Part(Colour.RED, ())), {"a": 0.5, "b": True}, True, {"c": [1]})


def test_a_dataclass_comes_back() -> None:
    assert from_jsonable(Whole, json.loads(json.dumps(to_jsonable(WHOLE)))) == WHOLE
    lacking = from_jsonable(Whole, {"parts": [], "by_name": {"x": None}, "of a later version": 1})
    assert lacking == Whole((), lacking.by_name)
    assert math.isnan(lacking.by_name["x"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parts": 3}, r"\$\.parts: got 3, expected tuple"),
        ({"parts": [3]}, r"\$\.parts\[0\]: got 3, expected an object"),
        ({"parts": [{"colour": "red"}]}, r"\$\.parts\[0\]: there is no weights"),
        ({"parts": [{"colour": "blue", "weights": []}]}, r"colour: got 'blue', expected Colour"),
        ({"parts": [{"colour": "red", "weights": ["1"]}]}, r"weights\[0\]: got '1', expected float"),
        ({"parts": [{"colour": "red", "weights": [], "place": [1]}]}, r"place: got \[1\]"),
        ({"by_name": []}, r"\$\.by_name: got \[\]"),
        ({"is_new": 1}, r"\$\.is_new: got 1, expected bool"),
    ],
)
def test_what_is_no_such_dataclass_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_jsonable(Whole, {**to_jsonable(WHOLE), **changes})
