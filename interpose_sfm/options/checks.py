"""How options say what is wrong with a value."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any


def refuse_nan(options: Any) -> None:
    """Raise a ValueError if a number of an option dataclass is none: every comparison with it would be false."""
    for option in fields(options):
        value = getattr(options, option.name)
        require(not (isinstance(value, float) and math.isnan(value)), option.name, value, "a number")


def require(condition: bool, name: str, got: object, expected: str) -> None:
    """Raise a ValueError that names the option, what was got, and what was expected, unless the condition holds.

    The name is spelled as on the command line, however it comes.
    """
    if not condition:
        raise ValueError(f"option {name.replace('_', '-')}: got {got!r}, expected {expected}")
