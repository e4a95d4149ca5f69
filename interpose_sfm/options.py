"""Every option and its default, one frozen dataclass per stage. The command line is derived from these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from interpose_sfm import geometry
from interpose_sfm._compat import StrEnum


def _require(condition: bool, name: str, got: object, expected: str) -> None:
    if not condition:
        raise ValueError(f"option {name}: got {got!r}, expected {expected}")


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
    """

    min_side_px: int = 64
    max_megapixels: float = 250.0
    recursive: bool = True

    def __post_init__(self) -> None:
        if self.min_side_px < 1:
            raise ValueError(f"min_side_px must be at least 1, got {self.min_side_px}")
        if not self.max_megapixels > 0:
            raise ValueError(f"max_megapixels must be positive, got {self.max_megapixels}")


@dataclass(frozen=True, kw_only=True)
class BaseOptions:
    """Plain COLMAP: SIFT, matching, mapping.

    Attributes:
        sift_max_image_px: Long side at which SIFT runs; -1 for COLMAP's default.
        exhaustive_limit: Up to this many photos every pair is matched; above it, neighbours_per_photo.
        neighbours_per_photo: Pairs per photo above the limit: half of them next in name order, half by quadratic steps.
        min_model_size: Smallest model that is kept. COLMAP's default of 10 silently drops small collections.
        min_points_per_photo: A photo that sees fewer points of its model counts as unregistered until a link confirms
            it. COLMAP registers from 30 on, and look-alike structure reaches that; twice as many asks for a second
            opinion without questioning photos that overlap well.
        num_threads: Threads of COLMAP; -1 for all cores.
        mapper: COLMAP's incremental mapper, or its global one (GLOMAP), for the base models and with the links.
    """

    sift_max_image_px: int = -1
    exhaustive_limit: int = 200
    neighbours_per_photo: int = 40
    min_model_size: int = 3
    min_points_per_photo: int = 60
    num_threads: int = -1
    mapper: Mapper = Mapper.INCREMENTAL

    def __post_init__(self) -> None:
        object.__setattr__(self, "mapper", Mapper(self.mapper))
        _require(
            self.sift_max_image_px == -1 or self.sift_max_image_px >= 64,
            "sift-max-image-px",
            self.sift_max_image_px,
            "-1 or >= 64",
        )
        _require(self.exhaustive_limit >= 2, "exhaustive-limit", self.exhaustive_limit, ">= 2")
        _require(self.neighbours_per_photo >= 2, "neighbours-per-photo", self.neighbours_per_photo, ">= 2")
        _require(self.min_points_per_photo >= 0, "min-points-per-photo", self.min_points_per_photo, ">= 0")
        _require(self.min_model_size >= 2, "min-model-size", self.min_model_size, ">= 2")
        _require(self.num_threads == -1 or self.num_threads >= 1, "num-threads", self.num_threads, "-1 or >= 1")


@dataclass(frozen=True, kw_only=True)
class CallerOptions(BaseOptions):
    """Base options where somebody else calls COLMAP's mapper: what we map with it must keep to the caller's options.

    Attributes:
        pipeline: Fields of ``pycolmap.IncrementalPipelineOptions``, nested ones as mappings, that differ from COLMAP's
            defaults.
    """

    pipeline: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ViewGraphOptions:
    """Which pairs count as weak.

    Attributes:
        max_weak_pairs: At most this many weak pairs are matched again with learned features.
        max_bridged_pairs: At most this many of those get bridging clips.
    """

    max_weak_pairs: int = 300
    max_bridged_pairs: int = 8

    def __post_init__(self) -> None:
        _require(self.max_weak_pairs >= 0, "max-weak-pairs", self.max_weak_pairs, ">= 0")
        _require(self.max_bridged_pairs >= 0, "max-bridged-pairs", self.max_bridged_pairs, ">= 0")


@dataclass(frozen=True, kw_only=True)
class MatchingOptions:
    """Learned features and matches (ALIKED + LightGlue).

    Attributes:
        learned_max_image_px: Long side at which key points are detected; 1024 is what LightGlue was trained for.
        max_keypoints: Key points per photo.
        max_frame_keypoints: Key points per frame of a clip: there are many frames, and neighbours differ little.
        detection_threshold: ALIKED's detection threshold.
        min_match_score: LightGlue's own filter; the evidence cues need the doubtful matches too, so keep it low.
        device: torch device.
    """

    learned_max_image_px: int = 1024
    max_keypoints: int = 2048
    max_frame_keypoints: int = 1024
    detection_threshold: float = 0.2
    min_match_score: float = 0.1
    device: str = "cpu"

    def __post_init__(self) -> None:
        _require(self.learned_max_image_px >= 64, "learned-max-image-px", self.learned_max_image_px, ">= 64")
        _require(self.max_keypoints >= 16, "max-keypoints", self.max_keypoints, ">= 16")
        _require(self.max_frame_keypoints >= 16, "max-frame-keypoints", self.max_frame_keypoints, ">= 16")
        _require(0 <= self.min_match_score < 1, "min-match-score", self.min_match_score, "in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class BridgingOptions:
    """Options of the bridging stage.

    Attributes:
        clip_dir: Folder with the clips of the `clips` generator.
        frames_per_clip: At most so many frames of a file are kept, spread evenly over the clip. Estimators draw their
            subsets from some of them; all of them at once make the small steps by which a whole clip is judged.
        max_frame_px: Longer side of a frame at most; larger frames are scaled down.
        min_end_correlation: The first and the last frame must correlate with the photos at least this well. On 240
            videos of three models the right ends reach 0.90 or more; of 96 wrong ends none exceeded 0.53.
        max_end_drift: Largest disagreement between where A lies in the first and B in the last frame, as a share of the
            frame's width, for photos of equal shape. It was 0.009 at most on the same videos.
        morph_hypotheses: Homographies, one clip each, that the `morph` generator tries per pair. A clip costs many
            learned matches, and each further homography rests on fewer of the putative ones.
        morph_frames: Frames of a morph clip.
        morph_min_matches: A homography needs at least so many supporting matches.
    """

    clip_dir: Path | None = None
    frames_per_clip: int = 25
    max_frame_px: int = 1024
    min_end_correlation: float = 0.8
    max_end_drift: float = 0.02
    morph_hypotheses: int = 2
    morph_frames: int = 4
    morph_min_matches: int = 12

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("frames_per_clip", self.frames_per_clip, 1, 1000),
            ("max_frame_px", self.max_frame_px, 64, 8192),
            ("min_end_correlation", self.min_end_correlation, 0.0, 1.0),
            ("max_end_drift", self.max_end_drift, 0.0, 1.0),
            ("morph_hypotheses", self.morph_hypotheses, 1, 100),
            ("morph_frames", self.morph_frames, 1, 100),
            ("morph_min_matches", self.morph_min_matches, 5, 100_000),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} must lie between {low} and {high}, got {value}")


class Strategy(StrEnum):
    """How one pose is chosen from the hypotheses of a pair."""

    PAPER = "paper"
    MEDOID = "medoid"
    AVERAGE = "average"
    PAIR_ONLY = "pair-only"


@dataclass(frozen=True, kw_only=True)
class ConsistencyOptions:
    """Options of the self-consistency stage. Counts are those of the paper.

    Attributes:
        strategy: PAPER scores clips by D_total, MEDOID by D_med alone; AVERAGE takes the mean of all hypotheses;
            PAIR_ONLY ignores the clips. All but PAPER are baselines for evaluation.
        num_clips: Clips that are asked for per pair.
        num_random_subsets, num_uniform_subsets: Subsets of frames that are drawn per clip.
        frames_per_subset: Frames in a subset, A and B not counted.
        min_hypotheses: A clip with fewer usable hypotheses does not compete. Of two that differ either may be wrong.
        max_d_med_deg: Largest accepted D_med. By simulation, 11 hypotheses that scatter by 5 degrees (one sigma per
            axis) have a D_med of 13 to 19. One random outlier among them is afforded by half of the clips that scatter
            by 1 degree, two by hardly any. Wrong answers had a D_med above 80 unless most hypotheses backed them.
        max_d_bias_deg: Largest accepted D_bias, and largest distance of clips that are said to agree. Above
            max_d_med_deg because no mean calms the distance of two poses: by simulation 95 % are below 26 where all
            hypotheses scatter by 5 degrees.
        min_baseline: Translations shorter than this have no direction (hypotheses have unit translations, or zero).
        allow_pair_only: Where no clip has a usable hypothesis, answer with the pose of the pair alone, unscored,
            instead of refusing.
    """

    strategy: Strategy = Strategy.PAPER
    num_clips: int = 4
    num_random_subsets: int = 10
    num_uniform_subsets: int = 1
    frames_per_subset: int = 3
    min_hypotheses: int = 3
    max_d_med_deg: float = 20.0
    max_d_bias_deg: float = 30.0
    min_baseline: float = geometry.NEAR_ZERO_BASELINE
    allow_pair_only: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "strategy", Strategy(self.strategy))
        least = {"frames_per_subset": 1, "min_hypotheses": 2, "min_baseline": geometry.NEAR_ZERO_BASELINE}
        for option in fields(self)[1:]:
            value, bound = getattr(self, option.name), least.get(option.name, 0)
            if not value >= bound:  # so that NaN fails, too
                raise ValueError(f"{option.name}: got {value}, expected at least {bound}")
        if self.num_random_subsets + self.num_uniform_subsets == 0:
            raise ValueError("got no subsets, expected num_random_subsets + num_uniform_subsets of at least 1")


class PairSelection(StrEnum):
    """Which ordered pairs of views a pair-wise network runs on."""

    ECONOMICAL = "economical"
    EXACT = "exact"


class AlignmentMethod(StrEnum):
    """How the point maps of pairs become camera poses of all views."""

    OWN = "own"
    DUST3R = "dust3r"


class NetworkDtype(StrEnum):
    """Number format of a network's transformer blocks; its heads run in float32 in any case."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Fit(StrEnum):
    """How photos are brought to the size of a video model."""

    CROP = "crop"
    LETTERBOX = "letterbox"


class MemoryProfile(StrEnum):
    """How a video model shares out the memory of its device."""

    AUTO = "auto"
    FULL = "full"
    OFFLOAD = "offload"
    SEQUENTIAL = "sequential"


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """How video models make bridging clips. Clips that exist already are never made again.

    Attributes:
        clip_store: Folder in which generated clips are kept; by default ``clips`` in the output folder.
        fit: `crop` fills the frame of the model and loses the margin, `letterbox` keeps all and adds black bars.
        prompt_file: JSON file with prompts to use instead of captions; the one that a run writes has the right form.
        captioner: Who describes the scene for the prompts: `template` says nothing of it and needs no model; `blip` or
            ``transformers:REPO_OR_PATH`` run one here; `openai` asks GPT-4o with the key in OPENAI_API_KEY, which takes
            about a cent per pair that max_cost does not count.
        video_steps: Denoising steps; None for the model's own default.
        video_frames: Frames of a clip, brought to the nearest number that the model allows; None for its default.
        video_long_side_px: Longer side of the frames, brought to the nearest size that the model allows; None for its
            default.
        video_device: torch device, or several separated by commas, one worker each; ``auto`` takes all CUDA devices,
            else Metal, else the CPU.
        video_dtype: Number format of the diffusion model.
        video_memory: `full` keeps the model on its device, `offload` one part of it at a time, `sequential` one layer
            at a time; `auto` decides by the memory of the device.
        video_revision: Revision of the weights on the hub; empty for the one that the package names.
        max_cost: Dollars that may be spent on paid services; None refuses to spend, and says what it would cost.
        clip_price: Dollars that a paid service takes for one clip, in place of the price that the package knows; needed
            where it knows none.
        repeat_lost: Ask a paid service again for a clip although the answer to an earlier request was lost and nobody
            can tell whether it was paid for.
        public_dir: Folder that a web server of yours shows, for services that take pictures by address only (`luma`);
            the pictures of a clip lie there, under names that nobody can guess, until it is made.
        public_url: Address at which the files of public_dir are seen.
        dynamicrafter_dir: Checkout of DynamiCrafter; by default ``third_party/DynamiCrafter`` of the source tree.
        dynamicrafter_python: Python of DynamiCrafter's own environment; by default that of ``.venv`` in the checkout.
    """

    clip_store: Path | None = None
    fit: Fit = Fit.CROP
    prompt_file: Path | None = None
    captioner: str = "template"
    video_steps: int | None = None
    video_frames: int | None = None
    video_long_side_px: int | None = None
    video_device: str = "auto"
    video_dtype: NetworkDtype = NetworkDtype.BFLOAT16
    video_memory: MemoryProfile = MemoryProfile.AUTO
    video_revision: str = ""
    max_cost: float | None = None
    clip_price: float | None = None
    repeat_lost: bool = False
    public_dir: Path | None = None
    public_url: str = ""
    dynamicrafter_dir: Path | None = None
    dynamicrafter_python: Path | None = None

    def __post_init__(self) -> None:
        for name, kind in (("fit", Fit), ("video_dtype", NetworkDtype), ("video_memory", MemoryProfile)):
            object.__setattr__(self, name, kind(getattr(self, name)))
        _require(bool(self.captioner), "captioner", self.captioner, "the name of a captioner")
        _require(bool(self.video_device), "video-device", self.video_device, "a torch device")
        for name, least in (("video_steps", 1), ("video_frames", 3), ("video_long_side_px", 64)):
            value = getattr(self, name)
            _require(value is None or value >= least, name.replace("_", "-"), value, f">= {least}")
        for name in ("max_cost", "clip_price"):
            value = getattr(self, name)
            _require(value is None or 0 <= value < float("inf"), name.replace("_", "-"), value, ">= 0")


@dataclass(frozen=True, kw_only=True)
class Dust3rOptions:
    """The pose estimator `dust3r`. Its weights are for non-commercial use (CC BY-NC-SA 4.0).

    Attributes:
        dust3r_weights: Hub id, or a local ``.pth`` or ``.safetensors`` file.
        dust3r_device: torch device; ``auto`` takes CUDA, else Metal, else the CPU.
        dust3r_dtype: Number format of the transformer blocks.
        dust3r_size_px: Longer side of the pictures that the network sees; the published weights want 512.
        dust3r_batch_size: Pairs in one run of the decoder.
        dust3r_pairs: `exact` runs all ordered pairs of every subset of views, as the paper does; `economical` only
            those that tie a view to A or B, and draws the subsets from dust3r_pool frames of a clip.
            ``pipelines/dust3r_cost.py`` measures what either costs.
        dust3r_pool: Frames per clip from which `economical` draws its subsets; 6 of them make 20 different subsets of
            three, of which the paper's settings draw 11.
        alignment: `own` is closed form with a small refinement, `dust3r` the global aligner of the published code.
    """

    dust3r_weights: str = "naver/DUSt3R_ViTLarge_BaseDecoder_512_dpt"
    dust3r_device: str = "auto"
    dust3r_dtype: NetworkDtype = NetworkDtype.FLOAT32
    dust3r_size_px: int = 512
    dust3r_batch_size: int = 4
    dust3r_pairs: PairSelection = PairSelection.ECONOMICAL
    dust3r_pool: int = 6
    alignment: AlignmentMethod = AlignmentMethod.OWN

    def __post_init__(self) -> None:
        for name, kind in (
            ("dust3r_dtype", NetworkDtype),
            ("dust3r_pairs", PairSelection),
            ("alignment", AlignmentMethod),
        ):
            object.__setattr__(self, name, kind(getattr(self, name)))
        _require(bool(self.dust3r_weights), "dust3r-weights", self.dust3r_weights, "a hub id or a file")
        size = self.dust3r_size_px
        _require(size >= 64 and size % 64 == 0, "dust3r-size-px", size, "a multiple of 64, at least 64")
        _require(self.dust3r_batch_size >= 1, "dust3r-batch-size", self.dust3r_batch_size, ">= 1")
        _require(self.dust3r_pool >= 3, "dust3r-pool", self.dust3r_pool, ">= 3")


@dataclass(frozen=True, kw_only=True)
class ConsensusOptions:
    """When a link is believed.

    ``pipelines/evidence.py`` measures what each limit lets through on real photos, and how that changes around it.

    Attributes:
        min_inliers: Fewer inliers are no link, whatever their quality (COLMAP's absolute pose wants 30, too).
        min_inlier_share: Share of the putative matches that agree with one pose.
        min_density: Share of the key points in the matched area that are matched.
        min_score_near, min_score_far: Mean match confidence that is needed at a small and at a large triangulation
            angle. Two photos said to be close to each other must match with confidence.
        near_angle_deg, far_angle_deg: The angles between which the needed confidence falls.
        max_cycle_deg: Rotations around a closed cycle of links may differ from the identity by this much.
        max_spread_deg: Links with a larger spread are refused.
    """

    min_inliers: int = 30
    min_inlier_share: float = 0.85
    min_density: float = 0.25
    min_score_near: float = 0.75
    min_score_far: float = 0.55
    near_angle_deg: float = 45.0
    far_angle_deg: float = 80.0
    max_cycle_deg: float = 10.0
    max_spread_deg: float = 10.0

    def __post_init__(self) -> None:
        _require(self.min_inliers >= 8, "min-inliers", self.min_inliers, ">= 8")
        for name in ("min_inlier_share", "min_density", "min_score_near", "min_score_far"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        _require(self.near_angle_deg < self.far_angle_deg, "near-angle-deg", self.near_angle_deg, "< far-angle-deg")


@dataclass(frozen=True, kw_only=True)
class FallbackOptions:
    """Options of the fallback, whoever made the base models.

    Attributes:
        generator: Where bridging clips come from: ``auto`` takes clips on disk where there are any for the pair, else
            makes them with a video model whose weights are on this machine with a GPU that holds it, else morphs;
            ``none`` leaves bridging out; else the name of a generator, such as ``wan-flf2v`` or ``diffusers:FOLDER``.
        pose_estimator: Name of the pose estimator.
        seed: Seed of everything that is random.
    """

    generator: str = "auto"
    pose_estimator: str = "matcher"
    seed: int = 0
    view_graph: ViewGraphOptions = field(default_factory=ViewGraphOptions)
    matching: MatchingOptions = field(default_factory=MatchingOptions)
    bridging: BridgingOptions = field(default_factory=BridgingOptions)
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    consistency: ConsistencyOptions = field(default_factory=ConsistencyOptions)
    consensus: ConsensusOptions = field(default_factory=ConsensusOptions)
    dust3r: Dust3rOptions = field(default_factory=Dust3rOptions)

    def __post_init__(self) -> None:
        _require(0 <= self.seed < 2**31, "seed", self.seed, "in [0, 2^31)")


@dataclass(frozen=True, kw_only=True)
class ReconstructOptions(FallbackOptions):
    """All options of a run.

    Attributes:
        database: A COLMAP database with features and matches to use instead of our own; it is copied, never changed.
        camera_mode: Which photos share a camera, as in COLMAP.
    """

    database: Path | None = None
    camera_mode: CameraMode = CameraMode.AUTO
    photos: PhotoOptions = field(default_factory=PhotoOptions)
    base: BaseOptions = field(default_factory=BaseOptions)


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
        _require(is_name, "side-folder", self.side_folder, "the name of a folder beside the database")
