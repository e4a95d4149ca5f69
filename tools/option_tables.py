"""Write the tables of options in docs/manual.md from the option dataclasses, where every default and text is kept.

Usage: python tools/option_tables.py
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from interpose_sfm.cli.options import attribute_texts, first_line
from interpose_sfm.options import InterposeOptions, ReconstructOptions

MANUAL = Path(__file__).resolve().parents[1] / "docs" / "manual.md"
START = "<!-- options: written by tools/option_tables.py -->\n"
END = "<!-- end of options -->"

FLAG_NAMES = {"clip_dirs": "clips"}  # where the command line has another name than the library


def tables() -> str:
    """All options by group, one row each."""
    options, drop_in = ReconstructOptions(), InterposeOptions()
    own = {option.name for option in dataclasses.fields(options)}
    parts = [_table("General", "In the library:", "options", options)]
    for option in dataclasses.fields(options):
        value = getattr(options, option.name)
        if dataclasses.is_dataclass(value):
            parts.append(
                _table(option.name, f"{first_line(type(value))} In the library:", f"options.{option.name}", value)
            )
    parts.append(_table("Only for `hook`", "In the library:", "interpose", drop_in, skipped=own))
    return "\n".join(parts)


def _table(title: str, text: str, name: str, options: Any, skipped: Set[str] = frozenset()) -> str:
    title = title.replace("_", " ").capitalize()
    rows = "\n".join(f"| {flag} | {default} | {text} |" for flag, default, text in _rows(options, skipped))
    return (
        f"### {title}\n\n{text} `{name}` (`{type(options).__name__}`).\n\n"
        f"| option | default | what it says |\n|---|---|---|\n{rows}\n"
    )


def _rows(options: Any, skipped: Set[str]) -> Iterator[tuple[str, str, str]]:
    texts = attribute_texts(type(options))
    for option in dataclasses.fields(options):
        value, text = getattr(options, option.name), texts.get(option.name, "")
        if option.name in skipped or dataclasses.is_dataclass(value):
            continue
        flag = FLAG_NAMES.get(option.name, option.name).replace("_", "-")
        if value is True:
            flag = f"no-{flag}"
        default = "" if value in (None, "", ()) else f"`{value}`"
        if isinstance(value, bool):
            default = "on" if value else "off"
        yield f"`--{flag}`", default, text


def with_tables(text: str) -> str:
    """The manual with its tables written anew."""
    before, _, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"got a text without {START.strip()} and {END}")
    return f"{before}{START}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    MANUAL.write_text(with_tables(MANUAL.read_text(encoding="utf-8")), encoding="utf-8")
