"""GPS positions of photos: those of a scene of known poses, and EXIF that holds one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from interpose_sfm import geometry
from interpose_sfm.products import FloatArray, Pose

EAST_NORTH_UP = geometry.rotation_exp([0.0, 0.0, 2.0])  # the scene stands upright, and faces anywhere


def positions_of(
    cam_from_world: Mapping[str, Pose], metres_per_unit: float, noise_m: float = 0.0, seed: int = 0
) -> dict[str, FloatArray]:
    """East, north, up of every photo, each off by as much along every axis."""
    rng = np.random.default_rng(seed)
    return {
        name: metres_per_unit * EAST_NORTH_UP @ pose.inverse().translation
        + [300.0, -40.0, 120.0]
        + noise_m * rng.normal(size=3)
        for name, pose in cam_from_world.items()
    }


def dms(degrees: int, minutes: int, hundredths: int) -> tuple[IFDRational, ...]:
    """Degrees, minutes and hundredths of a second as EXIF has them."""
    return IFDRational(degrees), IFDRational(minutes), IFDRational(hundredths, 100)


def exif_of(tags: Mapping[int, Any], orientation: int = 1) -> Image.Exif:
    """EXIF with these tags of its GPS folder."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8825).update(tags)
    exif[0x8825] = 0  # an offset, without which Pillow writes it into no TIFF
    return exif


def exif_north_of(start: tuple[int, int], hundredths: int) -> Image.Exif:
    """EXIF with a position so many hundredths of a second, 31 cm each, to the north of degrees and minutes."""
    return exif_of({1: "N", 2: dms(*start, hundredths), 3: "W", 4: dms(2, 15, 0)})
