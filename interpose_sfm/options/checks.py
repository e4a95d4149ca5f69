"""How options say what is wrong with a value."""

from __future__ import annotations


def require(condition: bool, name: str, got: object, expected: str) -> None:
    """Raise a ValueError that names the option, what was got, and what was expected, unless the condition holds."""
    if not condition:
        raise ValueError(f"option {name}: got {got!r}, expected {expected}")
