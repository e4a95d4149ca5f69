"""What the fallback starts from, and what it makes of that."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm.pairs.records import PairRecord
from interpose_sfm.products import FloatArray, LookAlike, Pose
from interpose_sfm.run_log import RunLog

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Base:
    """What the fallback starts from.

    Attributes:
        database_path: COLMAP database of the models; ours, since pycolmap opens it. It is not extended.
        image_dir: Folder that holds the photos under their names.
        names: Photos that may be matched.
        models: Base models, largest first, without the photos that are not to be trusted.
        registered: What COLMAP registered in each of its models, these photos included, largest first.
        small: COLMAP's largest model where none has as many photos as one needs; nothing is built upon it.
        one_place: Photos that were taken from one place and are in no model.
        look_alikes: Pairs for which COLMAP's models are suspected to be folded.
        positions_m: East, north and up of the photos whose GPS position is known and used; up may be NaN.
        mask_dir: Folder of the photos' masks; None for none.
        known: Photos whose focal length was known before mapping, by EXIF, a database or an option.
        given: cam_from_world of photos whose poses were handed in, which stay.
    """

    database_path: Path
    image_dir: Path
    names: tuple[str, ...]
    models: tuple[pycolmap.Reconstruction, ...] = ()
    registered: tuple[frozenset[str], ...] = ()
    small: pycolmap.Reconstruction | None = None
    one_place: frozenset[str] = frozenset()
    look_alikes: tuple[LookAlike, ...] = ()
    positions_m: Mapping[str, FloatArray] = field(default_factory=dict)
    mask_dir: Path | None = None
    known: frozenset[str] = frozenset()
    given: Mapping[str, Pose] = field(default_factory=dict)


@dataclass(frozen=True)
class Extension:
    """What the fallback made of a base.

    Attributes:
        records: The last record of every weak pair, in rank order.
        models: Final models, largest first; the base models themselves where nothing was gained.
        database_path: The extended copy of the database; None where no link was accepted.
        warnings: What the user should know of the models.
        failure: What kept it from making anything; the models are those of the base then.
    """

    records: tuple[PairRecord, ...]
    models: tuple[pycolmap.Reconstruction, ...]
    database_path: Path | None = None
    warnings: tuple[str, ...] = ()
    failure: BaseException | None = None


def attempt(step: Callable[[], Extension], before: Extension, log: RunLog) -> Extension:
    """What a step makes, or what there was before if it fails: no model is lost to what comes after it.

    Raises:
        BaseException: What the user or the progress callback stopped the run by.
    """
    try:
        return step()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if log.stopped_by is not None:
            raise
        logger.debug("the fallback failed", exc_info=True)
        return replace(before, failure=before.failure or error)
