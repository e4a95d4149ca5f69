"""The model that is exported, and its photos."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pycolmap


@dataclass(frozen=True)
class ExportSource:
    """One model on disk.

    Attributes:
        model_dir: Its folder, in COLMAP's binary format.
        model: What that holds; not to be changed.
        image_dir: The photos, under the names that the model gives them.
        mask_dir: ``NAME.png`` for every photo NAME, black where it is to be ignored; None where there are no masks.
    """

    model_dir: Path
    model: pycolmap.Reconstruction
    image_dir: Path
    mask_dir: Path | None = None

    def images(self) -> list[pycolmap.Image]:
        """The photos that have a pose, in name order."""
        return sorted((i for i in self.model.images.values() if i.has_pose), key=lambda image: image.name)

    def cameras(self) -> list[pycolmap.Camera]:
        """The cameras of these photos, by their ids."""
        return [self.model.camera(camera_id) for camera_id in sorted({image.camera_id for image in self.images()})]

    def mask_names(self) -> dict[int, str]:
        """Of the photos that have a pose, the names of their masks by the ids of the photos; none without masks."""
        return {} if self.mask_dir is None else {image.image_id: mask_name(image.name) for image in self.images()}

    def check_photos(self) -> None:
        """Raise a ValueError if a photo that has a pose is not there."""
        missing = [image.name for image in self.images() if not (self.image_dir / image.name).is_file()]
        if missing:
            raise ValueError(
                f"{len(missing)} photos of the model {self.model_dir} are not in {self.image_dir}, such as "
                f"{missing[0]}; run reconstruct once more with the same folders, which puts them there"
            )


def mask_name(name: str) -> str:
    """Name of a photo's mask, as COLMAP has it."""
    return f"{name}.png"


def link_or_copy(source: Path, target: Path) -> None:
    """Put a photo under another name, without taking up its room twice where the file system can do that."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
