"""Options of pose estimators, and of the choice among hypotheses."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from interpose_sfm import geometry
from interpose_sfm._compat import StrEnum
from interpose_sfm.options.bridging import NetworkDtype
from interpose_sfm.options.checks import refuse_nan, require


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
        num_clips: Clips that are asked for per pair, of every source.
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
        refuse_nan(self)
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
        refuse_nan(self)
        for name, kind in (
            ("dust3r_dtype", NetworkDtype),
            ("dust3r_pairs", PairSelection),
            ("alignment", AlignmentMethod),
        ):
            object.__setattr__(self, name, kind(getattr(self, name)))
        require(bool(self.dust3r_weights), "dust3r-weights", self.dust3r_weights, "a hub id or a file")
        size = self.dust3r_size_px
        require(size >= 64 and size % 64 == 0, "dust3r-size-px", size, "a multiple of 64, at least 64")
        require(self.dust3r_batch_size >= 1, "dust3r-batch-size", self.dust3r_batch_size, ">= 1")
        require(self.dust3r_pool >= 3, "dust3r-pool", self.dust3r_pool, ">= 3")


@dataclass(frozen=True, kw_only=True)
class Da3Options:
    """The pose estimator `da3`, Depth Anything 3. Its weights SMALL and BASE are Apache-2.0; larger ones are not used.

    Attributes:
        da3_weights: ``small``, ``base``, or a local ``.safetensors`` file; ``auto`` takes the published ones that are
            on this machine, of both `base` on a GPU and `small` without. Nothing is fetched.
        da3_device: torch device; ``auto`` takes CUDA, else Metal, else the CPU.
        da3_dtype: Number format of the transformer blocks.
        da3_size_px: Longer side of the pictures that the network sees; the published weights want 504.
    """

    da3_weights: str = "auto"
    da3_device: str = "auto"
    da3_dtype: NetworkDtype = NetworkDtype.FLOAT32
    da3_size_px: int = 504

    def __post_init__(self) -> None:
        object.__setattr__(self, "da3_dtype", NetworkDtype(self.da3_dtype))
        require(bool(self.da3_weights), "da3-weights", self.da3_weights, "auto, small, base or a file")
        size = self.da3_size_px
        require(size >= 56 and size % 14 == 0, "da3-size-px", size, "a multiple of 14, at least 56")


@dataclass(frozen=True, kw_only=True)
class MapAnythingOptions:
    """The pose estimator `mapanything`, by name only. Its weights `facebook/map-anything-apache` are Apache-2.0.

    Attributes:
        mapanything_dir: Checkout of its code; by default ``third_party/map-anything`` of the source tree.
        mapanything_weights: A ``.safetensors`` file; by default the published one, where it is in the hub's cache.
            Nothing is fetched.
        mapanything_device: torch device; ``auto`` takes CUDA, else Metal, else the CPU.
        mapanything_dtype: Number format of the transformer blocks.
        mapanything_size_px: Longer side of the pictures that the network sees; the published weights want 518.
    """

    mapanything_dir: Path | None = None
    mapanything_weights: Path | None = None
    mapanything_device: str = "auto"
    mapanything_dtype: NetworkDtype = NetworkDtype.FLOAT32
    mapanything_size_px: int = 518

    def __post_init__(self) -> None:
        object.__setattr__(self, "mapanything_dtype", NetworkDtype(self.mapanything_dtype))
        size = self.mapanything_size_px
        require(size >= 56 and size % 14 == 0, "mapanything-size-px", size, "a multiple of 14, at least 56")
