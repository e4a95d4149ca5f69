"""Photo names that COLMAP's lists of pairs can hold: it parts a line at its blanks, and names may have some."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

_TABLE = "interpose_sfm_names"
_PREFIX = "\x01"  # which no photo's name has (photos/collect.py), so that no two names are ever equal on the way


@contextlib.contextmanager
def listable_names(path: Path) -> Iterator[Mapping[str, str]]:
    """Give the photos of a database of ours names without blanks for a while.

    Their own ones lie in a table of the database meanwhile, in which a run that goes on after a kill finds them:
    `restore_names`.

    Yields:
        Name of a photo -> what it is called now.
    """
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        rows = connection.execute("SELECT name, image_id FROM images").fetchall()
        connection.execute(f"CREATE TABLE {_TABLE} AS SELECT image_id, name FROM images")
        connection.execute("UPDATE images SET name = ? || image_id", (_PREFIX,))
    try:
        yield {name: f"{_PREFIX}{image_id}" for name, image_id in rows}
    finally:
        restore_names(path)


def restore_names(path: Path) -> None:
    """Give the photos of a database the names back that a killed run left in its table; nothing where there is none."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (_TABLE,))
        if found.fetchone() is None:
            return
        connection.execute(
            f"UPDATE images SET name = (SELECT name FROM {_TABLE} AS own WHERE own.image_id = images.image_id)"
        )
        connection.execute(f"DROP TABLE {_TABLE}")
