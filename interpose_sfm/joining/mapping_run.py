"""What mapping with links works on, from the base models to the joined ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm.colmap import incremental_mapper
from interpose_sfm.colmap.reconstruction import registered_names
from interpose_sfm.options import BaseOptions, ConsensusOptions
from interpose_sfm.products import FloatArray, Pose

if TYPE_CHECKING:
    import pycolmap


@dataclass(frozen=True, kw_only=True)
class MappingRun:
    """Files and options of stage 9.

    Attributes:
        database_path: Holds the matches; may be written to, so that it gets the links.
        image_dir: The photos.
        work_dir: Folder for temporary models.
        base: Options of COLMAP's mapper.
        limits: When a link is believed.
        seed: Of everything that is random.
        positions_m: East, north and up of photos by GPS, where it is known and to be used; up may be NaN.
        given: cam_from_world of photos whose poses were handed in, which stay.
    """

    database_path: Path
    image_dir: Path
    work_dir: Path
    base: BaseOptions
    limits: ConsensusOptions
    seed: int
    positions_m: Mapping[str, FloatArray] = field(default_factory=dict)
    given: Mapping[str, Pose] = field(default_factory=dict)

    def has_given(self, model: pycolmap.Reconstruction) -> bool:
        """Whether it is the model of the photos whose poses were handed in."""
        return not registered_names(model).isdisjoint(self.given)

    def triangulated(self, model: pycolmap.Reconstruction, folder: Path) -> pycolmap.Reconstruction:
        """A model with the points that the database has gained for it; ``folder`` is made for what pycolmap writes."""
        return incremental_mapper.triangulate(model, self.database_path, self.image_dir, folder, self.base, self.seed)
