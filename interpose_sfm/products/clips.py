"""Bridging clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from interpose_sfm._compat import StrEnum
from interpose_sfm.products.arrays import ImageArray
from interpose_sfm.products.pairs import ImagePair

CLIP_STORE = "interpose_clips"
"""Folder beside the first of two photos in which generated clips are kept if the options name none."""

CLIP_INDEX = "clips.json"
"""File in a folder of clips that says which photos they bridge."""


@dataclass(frozen=True)
class FrameMapping:
    """Where the picture of a photo lies in a frame: ``x_frame = scale * x_photo + offset_px``, per axis.

    Attributes:
        scale: (x, y).
        offset_px: (x, y) in frame pixels.
    """

    scale: tuple[float, float]
    offset_px: tuple[float, float]


@dataclass(frozen=True)
class ClipRequest:
    """What a generator is asked for.

    Attributes:
        index: Which of the pair's clips, counted from 0; a generator must return different clips for different indices.
        backwards: True if the clip is to be generated from B to A (it is still returned in A to B order).
        seed: Generators with equal requests return equal clips.
    """

    index: int
    backwards: bool
    seed: int


class GeneratorKind(StrEnum):
    """Where a generator has its frames from."""

    FILES = "files"  # read from disk, where somebody put them
    WARPED = "warped"  # from the two photos themselves
    IMAGINED = "imagined"  # by a video model


class ClipStatus(StrEnum):
    """Whether a generator could serve a request."""

    OK = "ok"
    NO_CLIP = "no clip for this pair"
    NO_MATCHES = "too few putative matches to morph"
    UNREADABLE = "clip cannot be read"
    NOT_REGISTERED = "first and last frame do not show the photos"
    GENERATION_FAILED = "the model made no clip"
    REFUSED = "the service refuses to make this clip"


class ClipState(StrEnum):
    """How far a clip is that a video model was to make."""

    EXISTS = "exists"
    MADE = "made"
    MISSING = "missing"
    FAILED = "failed"


class ClipProblem(StrEnum):
    """What can be seen to be wrong with a clip before any pose is estimated."""

    WRONG_LENGTH = "wrong number of frames"
    WRONG_SIZE = "wrong size of frames"
    FROZEN = "nothing moves"
    WRONG_FIRST = "the first frame does not show its photo"
    WRONG_LAST = "the last frame does not show its photo"
    HARD_CUT = "hard cut"
    CROSS_FADE = "cross-fade"


@dataclass(frozen=True)
class ClipFlag:
    """A problem of a clip, with its measure.

    Attributes:
        problem: Kind of problem.
        value: What was measured.
        limit: Where the problem begins.
        detail: One sentence for the report.
    """

    problem: ClipProblem
    value: float
    limit: float
    detail: str


@dataclass(frozen=True)
class Clip:
    """Bridging frames between two photos, in A to B order; the photos themselves are not among the frames.

    Attributes:
        pair: The photos.
        name: Stable name for reports and stores, such as ``morph-0`` or a file name.
        generator: Name of the generator.
        frames: RGB uint8 frames of equal size, each (height, width, 3); empty unless the status is OK.
        frame_from_a, frame_from_b: Where each photo lies in the frames; both photos and all frames share one mapping
            when the generator fitted them alike.
        status: OK, or why there is no clip.
        detail: One sentence for the report.
        flags: What the checks found wrong with the video.
    """

    pair: ImagePair
    name: str
    generator: str
    frames: tuple[ImageArray, ...]
    frame_from_a: FrameMapping
    frame_from_b: FrameMapping
    status: ClipStatus = ClipStatus.OK
    detail: str = ""
    flags: tuple[ClipFlag, ...] = ()


@dataclass(frozen=True)
class ClipPreview:
    """A clip small enough to be kept, for people to look at.

    Attributes:
        name: That of the clip.
        num_frames: Frames of the clip.
        frames: Some of them from first to last, scaled down, of equal size.
    """

    name: str
    num_frames: int
    frames: tuple[ImageArray, ...]


@dataclass(frozen=True, kw_only=True)
class ClipFormat:
    """Size and length of the clips that a model makes.

    Attributes:
        width_px, height_px: Size of the frames.
        num_frames: Frames of a clip, both ends included.
        fps: Frames per second of the file.
    """

    width_px: int
    height_px: int
    num_frames: int
    fps: float


Settings = Mapping[str, str | int | float | bool]
