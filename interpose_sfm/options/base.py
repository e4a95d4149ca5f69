"""Options of photos and of base models, as COLMAP makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interpose_sfm._compat import StrEnum
from interpose_sfm.options.checks import refuse_nan, require


class CameraMode(StrEnum):
    """Which photos share a camera, as in COLMAP."""

    AUTO = "auto"
    SINGLE = "single"
    PER_FOLDER = "per_folder"
    PER_IMAGE = "per_image"


class Mapper(StrEnum):
    """Which of COLMAP's mappers is used."""

    INCREMENTAL = "incremental"
    GLOBAL = "global"


@dataclass(frozen=True, kw_only=True)
class PhotoOptions:
    """What counts as a photo.

    Attributes:
        min_side_px: Shorter side below which a picture is left out; icons and thumbnails hold too few features.
        max_megapixels: Size above which a picture is left out unread; above any camera sold today, below what a
            decompression bomb would cost (three bytes a pixel).
        recursive: Whether sub-folders are searched.
        keep_orientation: Whether photos stay turned as their files store them, so that poses and cameras are those of
            the files' own pixels. Otherwise they are turned upright by EXIF, and poses refer to the upright pictures
            that the output folder holds. Learned features know upright photos best.
        image_list: File that names the photos to use, one path below the photo folder a line, as COLMAP's
            image_list_path; all others are left out.
        num_frames_target: Of every video among the photos so many frames are taken, the sharpest of equal parts of it;
            0 leaves videos out.
    """

    min_side_px: int = 64
    max_megapixels: float = 250.0
    recursive: bool = True
    keep_orientation: bool = False
    image_list: Path | None = None
    num_frames_target: int = 100

    def __post_init__(self) -> None:
        require(self.min_side_px >= 1, "min-side-px", self.min_side_px, ">= 1")
        require(self.max_megapixels > 0, "max-megapixels", self.max_megapixels, "> 0")
        require(self.num_frames_target >= 0, "num-frames-target", self.num_frames_target, ">= 0")


@dataclass(frozen=True, kw_only=True)
class BaseOptions:
    """Plain COLMAP: SIFT, matching, mapping.

    Attributes:
        sift_max_image_px: Long side at which SIFT runs; -1 for COLMAP's default.
        exhaustive_limit: Up to this many photos every pair is matched, unless matching_method says otherwise.
        neighbours_per_photo: No photo is in more pairs where not every pair is matched.
        min_model_size: Smallest model that is kept; where there is none, a smaller one of COLMAP's, or of a link, is.
            COLMAP's default of 10 silently drops small collections.
        min_points_per_photo: A photo that sees fewer points of its model is taken out if most of its matches speak
            against where the model has it, until a link confirms it; else it stays, with a warning. COLMAP registers
            from 30 points on, and look-alike structure reaches that.
        lift_limits: Whether COLMAP's matches are mapped once more where plain mapping leaves photos out or is refuted:
            with forward motion, small angles and points of two photos where focal lengths are known or shared, else
            with focal lengths found from the verified pairs; and links with lifted limits where they find no start.
            Incremental mapper only.
        split_lookalikes: Whether a model that is probably folded, since it puts photos of look-alike sides at nearly
            one view, is mapped again without the pairs that match nothing but what looks alike. It falls apart where
            nothing else connects it. Otherwise the suspicion is told, and the model stays.
        num_threads: Threads of COLMAP; -1 for all cores.
        mapper: COLMAP's incremental mapper, or its global one (GLOMAP), for the base models and with the links.
        refine_intrinsics: Whether focal lengths and distortion are refined; otherwise cameras stay as they are given,
            by camera_params, EXIF or COLMAP's guess.
    """

    sift_max_image_px: int = -1
    exhaustive_limit: int = 200
    neighbours_per_photo: int = 40
    min_model_size: int = 3
    min_points_per_photo: int = 60
    lift_limits: bool = field(default=True, metadata={"is_keyed": False})  # plain COLMAP's models do not depend on it
    split_lookalikes: bool = field(default=False, metadata={"is_keyed": False})  # and neither on this
    num_threads: int = -1
    mapper: Mapper = Mapper.INCREMENTAL
    refine_intrinsics: bool = field(default=True, metadata={"is_keyed": False})  # runs that do not add it to their key

    def __post_init__(self) -> None:
        refuse_nan(self)
        object.__setattr__(self, "mapper", Mapper(self.mapper))
        require(
            self.sift_max_image_px == -1 or self.sift_max_image_px >= 64,
            "sift-max-image-px",
            self.sift_max_image_px,
            "-1 or >= 64",
        )
        require(self.exhaustive_limit >= 2, "exhaustive-limit", self.exhaustive_limit, ">= 2")
        require(self.neighbours_per_photo >= 2, "neighbours-per-photo", self.neighbours_per_photo, ">= 2")
        require(self.min_points_per_photo >= 0, "min-points-per-photo", self.min_points_per_photo, ">= 0")
        require(self.min_model_size >= 2, "min-model-size", self.min_model_size, ">= 2")
        require(self.num_threads == -1 or self.num_threads >= 1, "num-threads", self.num_threads, "-1 or >= 1")


@dataclass(frozen=True, kw_only=True)
class CallerOptions(BaseOptions):
    """Base options where somebody else calls COLMAP's mapper: what we map with it must keep to the caller's options.

    Attributes:
        pipeline: Fields of ``pycolmap.IncrementalPipelineOptions``, nested ones as mappings, that differ from COLMAP's
            defaults.
    """

    pipeline: Mapping[str, Any] = field(default_factory=dict)
