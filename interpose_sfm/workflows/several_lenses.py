"""What is told of photos that share a camera and were taken with several focal lengths, and their mapping apart."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm.colmap import own_cameras, photo_audit, reconstruction
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.content_keys import content_key
from interpose_sfm.workflows.base_models import STAGE, SecondMapping
from interpose_sfm.workflows.folded_models import MapPlain

if TYPE_CHECKING:
    import pycolmap

NUM_NAMED = 6  # photos; the report names the camera of each


def mapped_apart(
    models: Sequence[pycolmap.Reconstruction],
    second: SecondMapping,
    map_plain: MapPlain,
    log: RunLog,
) -> tuple[SecondMapping, list[pycolmap.Reconstruction]] | None:
    """The plain models with a camera for each photo, where those with shared ones mix focal lengths.

    Args:
        models: Of plain COLMAP, largest first, with the cameras that photos share.
        second: Of these models.
        map_plain: Maps a database plainly into a folder, which it makes.
        log: Gets the time, and a warning of what was found.

    Returns:
        The same with cameras apart, models of whatever size; None where nothing speaks for that, or where it would
        leave more photos out.
    """
    shared = own_cameras.guessed_together(second.database_path)
    if not shared or not models:
        return None
    with log.stage("mapping"):
        several = [one for model in models for one in _mixed(model, shared, second.database_path)]
    if not several:
        return None
    mixed = frozenset().union(*(names for names in shared if any(names.issuperset(one.names) for one in several)))
    worst = max(several, key=lambda one: one.focal_ratio)
    told = ", ".join(sorted(mixed)[:NUM_NAMED]) + (", ..." if len(mixed) > NUM_NAMED else "")
    text = (
        f"photos of one size without EXIF were taken for those of one camera, but their focal lengths differ up to "
        f"{worst.focal_ratio:.2f} times: {told}"
    )
    key = content_key(second.key, "apart", sorted(mixed))

    def map_apart(folder: Path) -> None:
        with log.stage(STAGE):
            own_cameras.copy_with_own_cameras(second.database_path, folder / "database.db", mixed)
            map_plain(folder / "database.db", folder / "models")

    folder = second.workspace.made_once("apart", key, map_apart)
    apart = reconstruction.read_models(folder / "models", 2)
    size_before, size_now = (max((m.num_reg_images() for m in each), default=0) for each in (models, apart))
    if size_now < size_before:
        log.warnings.append(
            f"{text}; COLMAP's model of {size_before} photos is not to be trusted, and with a camera for each photo "
            f"(--camera-mode per_image) it has {size_now}"
        )
        return None
    log.warnings.append(f"{text}; so each has a camera of its own (as by --camera-mode per_image)")
    return replace(second, key=key, database_path=folder / "database.db"), apart


def _mixed(
    model: pycolmap.Reconstruction, shared: Collection[frozenset[str]], database_path: Path
) -> list[own_cameras.OwnFocals]:
    """The cameras whose photos were taken with several focal lengths, by a model of photos in their right places.

    A photo in a wrong place gains by a camera of its own, too, and its matches refute it.
    """
    found = [one for one in own_cameras.own_focals(model, shared) if one.are_several]
    return [] if found and photo_audit.refuted_photos(database_path, model) else found
