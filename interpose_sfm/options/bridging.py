"""Options of bridging clips, and of the video models that make them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from interpose_sfm._compat import StrEnum
from interpose_sfm.options.checks import refuse_nan, require


class FrameChoice(StrEnum):
    """Which frames of a clip are kept."""

    EVEN = "even"
    RELAY = "relay"


@dataclass(frozen=True, kw_only=True)
class BridgingOptions:
    """Options of the bridging stage.

    Attributes:
        clip_dirs: Folders with the clips of the `clips` generator. Each is a source of its own, such as a video model,
            unless records beside its clips name the generator that made them.
        frames_per_clip: At most so many frames of a file are kept.
        frame_choice: `even` keeps frames that are spread evenly over the clip; `relay` looks at thrice as many, and
            keeps those that match best with their neighbours on both sides.
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

    clip_dirs: tuple[Path, ...] = ()
    frames_per_clip: int = 6
    frame_choice: FrameChoice = FrameChoice.EVEN
    max_frame_px: int = 1024
    min_end_correlation: float = 0.8
    max_end_drift: float = 0.02
    morph_hypotheses: int = 2
    morph_frames: int = 4
    morph_min_matches: int = 12

    def __post_init__(self) -> None:
        refuse_nan(self)
        object.__setattr__(self, "frame_choice", FrameChoice(self.frame_choice))
        names = [folder.absolute().name for folder in self.clip_dirs]
        require(
            len(set(names)) == len(names), "clips", names, "folders of different names, which tell their clips apart"
        )
        for name, value, low, high in (
            ("frames_per_clip", self.frames_per_clip, 1, 1000),
            ("max_frame_px", self.max_frame_px, 64, 8192),
            ("min_end_correlation", self.min_end_correlation, 0.0, 1.0),
            ("max_end_drift", self.max_end_drift, 0.0, 1.0),
            ("morph_hypotheses", self.morph_hypotheses, 1, 100),
            ("morph_frames", self.morph_frames, 1, 100),
            ("morph_min_matches", self.morph_min_matches, 5, 100_000),
        ):
            require(low <= value <= high, name, value, f"between {low} and {high}")

    @property
    def relay_frames(self) -> int | None:
        """Frames of a clip that are chosen by their matches; None where all that are read are kept."""
        return self.frames_per_clip if self.frame_choice is FrameChoice.RELAY else None


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
        refuse_nan(self)
        for name, kind in (("fit", Fit), ("video_dtype", NetworkDtype), ("video_memory", MemoryProfile)):
            object.__setattr__(self, name, kind(getattr(self, name)))
        require(bool(self.captioner), "captioner", self.captioner, "the name of a captioner")
        require(bool(self.video_device), "video-device", self.video_device, "a torch device")
        for name, least in (("video_steps", 1), ("video_frames", 3), ("video_long_side_px", 64)):
            value = getattr(self, name)
            require(value is None or value >= least, name.replace("_", "-"), value, f">= {least}")
        for name in ("max_cost", "clip_price"):
            value = getattr(self, name)
            require(value is None or 0 <= value < float("inf"), name.replace("_", "-"), value, ">= 0")
