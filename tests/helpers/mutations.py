"""Damage to files: of bytes, and of values in JSON."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

_OUTSIDE = ("../../victim", "/victim", "..", ".", "", "a//b", "a\0b", "\ud800", "~", "x" * 5000, "\x1b]0;\x07", "a\nb")
_ODD: tuple[Any, ...] = (
    *_OUTSIDE, None, True, False, 0, -1, 1, 2, 2**31, 2**63, 2**64, 10**30, 10**400, 0.0, -0.0, 1e-320, 1e308,
    float("inf"), float("-inf"), float("nan"), [], {}, [[]], [None], {"": None}, [1, 2], ["a.jpg", "b.jpg"],
)  # fmt: skip


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """One damage of a kind that disks, copies and editors do."""
    content = bytearray(data)
    at = rng.randrange(len(content) + 1)
    size = min(rng.choice((1, 2, 4, 8, 100, 5000)), len(content))
    kind = rng.randrange(9)
    if kind == 0 and content:
        for _ in range(rng.randint(1, 5)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del content[at:]
    elif kind == 2:
        content[at : at + size] = bytes(len(content[at : at + size]))
    elif kind == 3:
        content[at : at + size] = b"\xff" * len(content[at : at + size])
    elif kind == 4:
        del content[at : at + size]
    elif kind == 5:
        content[at:at] = content[at : at + size]
    elif kind == 6:
        content[at:at] = rng.randbytes(size)
    elif kind == 7:
        other = rng.randrange(len(content) + 1)
        content[at : at + size], content[other : other + size] = (
            content[other : other + size],
            content[at : at + size],
        )
    else:
        content += rng.randbytes(size)
    return bytes(content)


def mutated_json(document: Any, rng: random.Random) -> Any:
    """A copy with a value or a key replaced, dropped, doubled or put elsewhere."""
    document = copy.deepcopy(document)
    places = _places(document)
    if not places or rng.random() < 0.03:
        return rng.choice(_ODD)
    owner, key = rng.choice(places)
    _, other = rng.choice(places)
    kind = rng.randrange(5)
    if kind == 0:
        del owner[key]
    elif kind == 1 and isinstance(owner, dict):
        name = rng.choice(_OUTSIDE) if rng.random() < 0.7 else str(other)
        owner[name] = owner.pop(key)
    elif kind == 2 and isinstance(owner, list):
        owner.append(copy.deepcopy(owner[key]))
    elif kind == 3:
        owner_of_other, key_of_other = rng.choice(places)
        owner[key] = copy.deepcopy(owner_of_other[key_of_other])
    else:
        owner[key] = rng.choice(_ODD)
    return document


def json_bytes(document: Any, rng: random.Random) -> bytes:
    """The document as a file; now and then one value of it is nested deeper than any reader goes."""
    text = json.dumps(document)
    if rng.random() < 0.03 and "null" in text:
        depth = rng.choice((50, 100_000))
        text = text.replace("null", "[" * depth + "]" * depth, 1)
    return text.encode("utf-8", "surrogatepass")


def _places(document: Any) -> list[tuple[Any, Any]]:
    """(container, key or index) of every value."""
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        owner = waiting.pop()
        keys = list(owner) if isinstance(owner, dict) else range(len(owner)) if isinstance(owner, list) else ()
        found.extend((owner, key) for key in keys)
        waiting.extend(owner[key] for key in keys)
    return found
