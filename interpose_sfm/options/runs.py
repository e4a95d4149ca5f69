"""All options of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from interpose_sfm.options.base import BaseOptions, CameraMode, PhotoOptions
from interpose_sfm.options.bridging import BridgingOptions, GenerationOptions
from interpose_sfm.options.checks import require
from interpose_sfm.options.consensus import ConsensusOptions
from interpose_sfm.options.engine import EngineOptions
from interpose_sfm.options.matching import MatchingOptions, ViewGraphOptions
from interpose_sfm.options.pairing import PairingOptions
from interpose_sfm.options.poses import ConsistencyOptions, Da3Options, Dust3rOptions, MapAnythingOptions

UNUSED_BY_BRIDGE = frozenset(
    {
        *("pose_estimator", "use_gps", "georegister", "html"),
        *("bridging", "da3", "dust3r", "mapanything"),
        *("max_frame_keypoints", "max_cycle_deg"),
        *(option.name for option in fields(ConsistencyOptions) if option.name != "num_clips"),
    }
)
"""Options, and groups of them, that have no effect where only clips are made."""

UNUSED_BY_MATCH = UNUSED_BY_BRIDGE | {"generator", "generation", "consistency", "consensus", "max_bridged_pairs"}
"""The same where pairs are only matched."""


@dataclass(frozen=True, kw_only=True)
class FallbackOptions:
    """Options of the fallback, whoever made the base models.

    Attributes:
        generator: Where bridging clips come from: ``auto`` takes clips on disk where there are any for the pair, else
            makes them with a video model whose weights are on this machine with a GPU that holds it; ``none`` leaves
            bridging out; else the name of a generator, such as ``wan-flf2v``, ``diffusers:FOLDER`` or ``morph``.
        pose_estimator: Name of what finds relative poses over clips; ``auto`` goes by learned matches, and where these
            leave a pair open, a pose network proposes that may be used commercially and whose weights are on this
            machine (`da3`).
        seed: Seed of everything that is random.
        use_gps: Whether GPS positions in EXIF give distance and scale where only these are missing.
        mask_path: Folder of masks, as in COLMAP: key points are ignored where NAME.png in it is black, for the photo
            NAME. Frames of clips are masked like their photos.
        html: Whether report.html, the report as a page with pictures, is written beside report.json.
    """

    generator: str = "auto"
    pose_estimator: str = "auto"
    seed: int = 0
    use_gps: bool = True
    mask_path: Path | None = None
    html: bool = True
    view_graph: ViewGraphOptions = field(default_factory=ViewGraphOptions)
    matching: MatchingOptions = field(default_factory=MatchingOptions)
    bridging: BridgingOptions = field(default_factory=BridgingOptions)
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    consistency: ConsistencyOptions = field(default_factory=ConsistencyOptions)
    consensus: ConsensusOptions = field(default_factory=ConsensusOptions)
    da3: Da3Options = field(default_factory=Da3Options)
    dust3r: Dust3rOptions = field(default_factory=Dust3rOptions)
    mapanything: MapAnythingOptions = field(default_factory=MapAnythingOptions)
    execution: EngineOptions = field(default_factory=EngineOptions)

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**31, "seed", self.seed, "in [0, 2^31)")

    @property
    def estimator_options(self) -> Mapping[str, object]:
        """Name of a pose estimator -> its group of options, of those that have one."""
        return {"da3": self.da3, "dust3r": self.dust3r, "mapanything": self.mapanything}


@dataclass(frozen=True, kw_only=True)
class ReconstructOptions(FallbackOptions):
    """All options of a run.

    Attributes:
        database: A COLMAP database with features and matches to use instead of our own; it is copied, never changed.
        camera_mode: Which photos share a camera, as in COLMAP.
        camera_model: COLMAP's model of all cameras, such as OPENCV or OPENCV_FISHEYE.
        camera_params: Their parameters in COLMAP's order, separated by commas, where a calibration is at hand; for
            photos of one size.
        known_poses: A transforms.json as nerfstudio reads it, or a folder with a COLMAP model, of some of the photos.
            Their cameras and poses are the start and stay as they are; the other photos are added.
        overwrite: Whether an output folder of other photos is used, and its models replaced.
        position_file: CSV file with the columns name, latitude, longitude and altitude (degrees and metres, WGS84); its
            positions count in the place of EXIF's.
        georegister: Whether final models are moved, turned and scaled to metres, east, north and up, by GPS
            positions; the report says where zero is, and which models have too few positions.
    """

    database: Path | None = None
    camera_mode: CameraMode = CameraMode.AUTO
    camera_model: str = "SIMPLE_RADIAL"
    camera_params: str = ""
    known_poses: Path | None = None
    overwrite: bool = False
    position_file: Path | None = None
    georegister: bool = False
    photos: PhotoOptions = field(default_factory=PhotoOptions)
    base: BaseOptions = field(default_factory=BaseOptions)
    pairing: PairingOptions = field(default_factory=PairingOptions)


@dataclass(frozen=True, kw_only=True)
class InterposeOptions(FallbackOptions):
    """Options of the drop-in for ``pycolmap.incremental_mapping``; those of the mapper are pycolmap's own.

    Attributes:
        enabled: Whether to do anything that pycolmap does not do.
        side_folder: Name of the folder beside the database that gets all that is added (the extended database, stores,
            report); ``{database}`` stands for the database's name without its suffix.
    """

    enabled: bool = True
    side_folder: str = "{database}_interpose"

    def __post_init__(self) -> None:
        super().__post_init__()
        name = self.side_folder.replace("{database}", "database")
        is_name = bool(name) and name not in (".", "..") and not set(name) & set("/\\\0")
        require(is_name, "side-folder", self.side_folder, "the name of a folder beside the database")
