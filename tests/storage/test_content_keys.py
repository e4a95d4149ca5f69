"""Content keys: equal for equal values only, in every process and version."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import OrderedDict
from enum import Enum, IntEnum
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pytest

from interpose_sfm.storage.content_keys import content_key, store_key
from processes import start


class Colour(str, Enum):
    RED = "red"


class Fruit(str, Enum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Plain(Enum):
    NAN = math.nan


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass(frozen=True)
class Options:
    size: int = 1
    name: object = "a"


@dataclasses.dataclass(frozen=True)
class OtherOptions:
    size: int = 1
    name: object = "a"


DIFFERENT: list[Any] = [
    None, True, False, 0, 1, 1.0, 0.0, -0.0, math.nan, math.inf, -math.inf, 2**70, "1", "", "None", b"1", b"", "ä",
    "a\u0308", "\udcff", Colour.RED, Fruit.RED, "red", Number.ONE, Plain.NAN, Path("1"), Path("a/b"), "a/b",
    (), [], {}, set(), (1,), [1], {1}, {1: None}, (1, 2), (2, 1), Point(1, 2), Point(2, 1), (12,), ("ab", "c"),
    ("a", "bc"), ("abc",), ("a", "b"), ("astr:b",), [[1], 2], [[1, 2]], [[1, 2], []],
    (("a",), "bc"), ("a", ("bc",)), ((), ()), ((),),
    {"a": 1}, {"a": "1"}, {"a": 1, "b": 2}, {"a": 2, "b": 1},
    {"a": {"b": 1}}, (("a", 1),), {1: 2}, {"1": 2}, {True: 2}, {"a", "b"}, {"ab"}, Options(), OtherOptions(),
    Options(name=None), Options(size=2), Options(name=Options()), {"size": 1, "name": "a"},
    np.zeros(0), np.zeros((0, 2)), np.zeros((2, 0)), np.zeros(4), -np.zeros(4), np.zeros((2, 2)),
    np.zeros(4, np.float32), np.zeros(4, np.int64), np.zeros(4, np.uint32), np.zeros(4, bool),
    np.zeros((), np.int64), np.int64(0), np.uint8(0),
    np.float32(0), np.True_, np.array([1.0, 2.0]), np.array([2.0, 1.0]), np.array(["a", "b"]), np.array([np.nan] * 4),
    np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2), np.arange(6).reshape(3, 2).T,
]  # fmt: skip


def test_content_key_tells_all_values_apart() -> None:
    keys = [content_key(value) for value in DIFFERENT] + [content_key(), content_key(1, 2), content_key("a", "b")]
    clashes = [(i, j) for i, j in itertools.combinations(range(len(keys)), 2) if keys[i] == keys[j]]
    assert clashes == []
    assert all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in keys)


def test_content_key_of_equal_values_is_equal() -> None:
    payload_nan = np.array([0x7FF8000000000001], dtype=np.uint64).view(np.float64)
    matrix = np.arange(6.0).reshape(2, 3)
    equal: list[tuple[Any, Any]] = [
        (math.nan, float(payload_nan[0])),
        (payload_nan, np.array([np.nan])),
        ({"a": 1, "b": 2}, OrderedDict([("b", 2), ("a", 1)])),
        ({"x", "y", "z"}, frozenset(["z", "y", "x"])),
        (1.5, np.float64(1.5)),
        (matrix, np.asfortranarray(matrix)),
        (matrix, np.repeat(matrix, 2, axis=1)[:, ::2]),
        (matrix, matrix.astype(">f8")),
        (Path("a/b"), PurePosixPath("a/b")),
        (Options(name=(1, math.nan)), Options(name=(1, math.nan))),
    ]
    assert [content_key(a) == content_key(b) for a, b in equal] == [True] * len(equal)


@pytest.mark.parametrize(("module", "expected"), [("package.b", True), ("package", True), ("another.a", False)])
def test_content_key_survives_a_move_within_the_package(module: str, expected: bool) -> None:
    here, there = (dataclasses.make_dataclass("Setting", [("value", int)], frozen=True) for _ in range(2))
    here.__module__, there.__module__ = "package.a", module
    assert (content_key(here(1)) == content_key(there(1))) is expected


def test_content_key_is_the_same_in_every_process() -> None:
    value = {"names": frozenset({"ä", "b", "c"}), "pair": (1, None, 0.1), "path": Path("x")}
    script = (
        "from pathlib import Path; from interpose_sfm.storage.content_keys import content_key;"
        "print(content_key({'path': Path('x'), 'pair': (1, None, 0.1), 'names': frozenset({'c', 'b', 'ä'})}))"
    )
    output, _ = start(script).communicate()
    assert output.strip() == content_key(value)
    # Fixed on purpose: a change makes every run folder start anew, so it must not happen by accident.
    assert content_key("photos", 1, None) == "d087bae76f53dd4cf571a77ff687955a555c14eee9a4a4b1b98c420dc0712732"


@pytest.mark.parametrize(
    "value",
    [object(), Options, len, 1j, np.array([object()]), np.ma.masked_array([1, 2], [False, True]), np.zeros(1, "f8,i4"),
     np.longdouble(1), iter([1]), {"deep": [object()]}],
)  # fmt: skip
def test_content_key_refuses_what_it_cannot_tell(value: object) -> None:
    with pytest.raises(TypeError, match="content key"):
        content_key(value)


def test_content_key_changes_with_every_bit_of_an_array() -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(size=50)
    keys = {content_key(array)}
    for i in range(50):
        changed = array.copy()
        changed[i] = np.nextafter(changed[i], np.inf)
        keys.add(content_key(changed))
    assert len(keys) == 51


def test_store_keys_of_different_parts_differ() -> None:
    parts = [("a", "b"), ("b", "a"), ("a,b",), ('a", "b',), ("a", "b", ""), ("a b",), ("ab",), (), ("",), ("a/b",)]
    assert len({store_key(*each) for each in parts}) == len(parts)
    assert store_key("ä", "b") == '["ä", "b"]'
