"""What is told of base models that look folded, and their mapping without what folds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm.pairs import look_alike_split, look_alikes
from interpose_sfm.products import LookAlike
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.content_keys import content_key

if TYPE_CHECKING:  # so that the drop-in, where it only asks, does not load all stages
    import pycolmap

    from interpose_sfm.workflows.base_models import SecondMapping
    from interpose_sfm.workflows.extension import Base, Extension

STAGE = "look-alikes"
NUM_NAMED = 4  # pairs, without a photo in common; the report names all

MapPlain = Callable[[Path, Path], None]
"""Maps a database plainly into a folder, which it makes."""


def suspected(
    models: Sequence[pycolmap.Reconstruction],
    database_path: Path,
    log: RunLog,
    remedy: str = "",
    *,
    warn: Callable[[str], None] | None = None,
) -> tuple[LookAlike, ...]:
    """Pairs of look-alike sides that models put at nearly one view, worst first; a warning tells of every such model.

    Args:
        models, database_path: As COLMAP made them.
        log: Gets the time, and the warnings unless ``warn`` does.
        remedy: What the warning says that can be done.
        warn: Gets the warnings.
    """
    found: list[LookAlike] = []
    with log.stage(STAGE):
        for model in models:
            pairs = look_alikes.look_alikes(database_path, model)
            if pairs:
                (warn or log.warnings.append)(_told(model, pairs) + remedy)
                found.extend(pairs)
    return tuple(sorted(found, key=lambda one: -one.silent_share))


def _told(model: pycolmap.Reconstruction, pairs: Sequence[LookAlike]) -> str:
    names = {name for one in pairs for name in (one.pair.a, one.pair.b)}
    named = [f"{one.pair.a} and {one.pair.b}" for one in look_alikes.separate(pairs)[:NUM_NAMED]]
    return (
        f"COLMAP's model of {model.num_reg_images()} photos is probably folded: it puts {len(pairs)} pairs among "
        f"{len(names)} photos at nearly one view that share one thing, which looks alike from two sides, before "
        f"different surroundings: {'; '.join(named)}{'; ...' if 2 * len(named) < len(names) else ''}"
    )


def split(second: SecondMapping, pairs: Sequence[LookAlike], map_plain: MapPlain, log: RunLog) -> SecondMapping:
    """Map again without the pairs that rest on what looks alike.

    Args:
        second: Of the folded models.
        pairs: For which they are suspected.
        map_plain: The mapper of the plain models.
        log: Gets a warning.

    Returns:
        The same of the smaller database, whose plain models lie beside it in ``models``; made once.
    """
    key = content_key(second.key, "split", [(one.pair.a, one.pair.b) for one in pairs])

    def map_split(folder: Path) -> None:
        left_out = look_alike_split.copy_without(second.database_path, folder / "database.db", pairs)
        (folder / "left_out").write_text(str(left_out), encoding="utf-8")
        map_plain(folder / "database.db", folder / "models")

    folder = second.workspace.made_once("split", key, map_split)
    left_out = int((folder / "left_out").read_text(encoding="utf-8"))
    log.warnings.append(f"mapped again without {left_out} pairs of photos that match nothing but what looks alike")
    return replace(second, key=key, database_path=folder / "database.db", stage="split_again")


def kept_apart(base: Base, extension: Extension, plain_database_path: Path, log: RunLog) -> Extension:
    """What links made of split models, or these themselves where the links have folded them again.

    Args:
        base, extension: Before and after the links.
        plain_database_path: With all of COLMAP's matches, by which the result is judged.
        log: Gets the warnings.
    """
    if not base.look_alikes or extension.database_path is None:
        return extension
    before = {one.pair for one in base.look_alikes}
    with log.stage(STAGE):
        again = [
            f"{one.pair.a} and {one.pair.b}"
            for model in extension.models
            for one in look_alikes.silent_pairs(plain_database_path, model)[0]
            if one.pair in before
        ]
    if not again:
        return extension
    log.warnings.append(
        f"links are left out, since they would fold the models again: they put {'; '.join(again[:NUM_NAMED])}"
        f"{'; ...' if len(again) > NUM_NAMED else ''} at nearly one view"
    )
    return replace(extension, models=base.models, database_path=None)
