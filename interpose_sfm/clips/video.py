"""Frames of a video file or of a folder of images, with bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from interpose_sfm.clips.files import IMAGE_SUFFIXES, natural_key
from interpose_sfm.products import ImageArray

logger = logging.getLogger(__name__)

MIN_CLIP_FRAMES = 3
"""The ends of a clip, and one frame between them."""

_MIN_FRAME_PX = 32
# A container states its length only roughly; a file cut off in transfer lacks far more than a few frames.
_MIN_DECODED_SHARE = 0.9


class UnreadableClipError(Exception):
    """A file or folder does not hold a usable clip; the message is one sentence for the report."""


def what_is_wrong(error: BaseException) -> str:
    """What FFmpeg or the system says of an error, without its number and the path."""
    return getattr(error, "strerror", None) or str(error)


@dataclass(frozen=True)
class DecodedClip:
    """The two ends of a clip and frames from between them, in file order, all of one size.

    Attributes:
        first, last: The ends, (height, width, 3) uint8 RGB.
        middle: Frames spread evenly between the ends, which are not among them.
    """

    first: ImageArray
    middle: tuple[ImageArray, ...]
    last: ImageArray


def read_clip(
    path: Path, num_frames: int, max_frame_px: int, on_frame: Callable[[ImageArray], None] = lambda frame: None
) -> DecodedClip:
    """Decode a video, or a folder of images in natural order.

    Args:
        path: The file or folder.
        num_frames: Number of frames wanted between the ends; fewer where the clip is shorter.
        max_frame_px: Frames whose longer side is larger are scaled down to it.
        on_frame: Is shown every frame, in order.

    Raises:
        UnreadableClipError: Not a video, empty, corrupt, cut off, too short, or frames of different sizes.
    """
    first: ImageArray | None = None
    last: ImageArray | None = None
    # Of a stream of unknown length, every stride-th frame is kept, and every other one dropped when there are too many.
    kept: list[tuple[int, ImageArray]] = []
    stride, count = 1, 0
    for index, frame in enumerate(stream_frames(path, max_frame_px)):
        if first is None:
            first = frame
        if frame.shape != first.shape:
            raise UnreadableClipError(f"frames differ in size: {_size(first)} and {_size(frame)}")
        on_frame(frame)
        if index % stride == 0:
            kept.append((index, frame))
        if len(kept) > 4 * (num_frames + 2):
            stride *= 2
            kept = [item for item in kept if item[0] % stride == 0]
        last, count = frame, index + 1
    if first is None or last is None or count < MIN_CLIP_FRAMES:
        raise UnreadableClipError(f"{count} frames, expected at least {MIN_CLIP_FRAMES}")
    if min(first.shape[:2]) < _MIN_FRAME_PX:
        raise UnreadableClipError(f"frames of {_size(first)} px, expected at least {_MIN_FRAME_PX} px a side")
    between = [item for item in kept if 0 < item[0] < count - 1]
    even_positions = np.linspace(0, count - 1, num_frames + 2)[1:-1]
    nearest = {int(np.argmin([abs(index - position) for index, _ in between])) for position in even_positions}
    return DecodedClip(first, tuple(between[i][1] for i in sorted(nearest)), last)


def stream_frames(path: Path, max_frame_px: int) -> Iterator[ImageArray]:
    """Decode a video, or a folder of images in natural order, frame by frame.

    Args:
        path: The file or folder.
        max_frame_px: Frames whose longer side is larger are scaled down to it.

    Yields:
        (height, width, 3) uint8 RGB.

    Raises:
        UnreadableClipError: It cannot be decoded, or is cut off.
    """
    return _folder_frames(path, max_frame_px) if path.is_dir() else _video_frames(path, max_frame_px)


def _size(frame: ImageArray) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"


def _fitted(width: int, height: int, max_frame_px: int) -> tuple[int, int]:
    """Size of a frame whose longer side must not exceed ``max_frame_px``."""
    factor = min(1.0, max_frame_px / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _video_frames(path: Path, max_frame_px: int) -> Iterator[ImageArray]:
    """Frames of a video file, decoded one by one."""
    import av

    # Decoders print what they dislike to standard error; the report says it once instead.
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UnreadableClipError("no video stream")
            stream = container.streams.video[0]
            declared, decoded = stream.frames, 0
            for frame in container.decode(stream):
                size = _fitted(frame.width, frame.height, max_frame_px)
                yield _rgb(frame, size)
                decoded += 1
            if decoded < _MIN_DECODED_SHARE * declared:
                raise UnreadableClipError(f"cut off: {decoded} of {declared} frames can be decoded")
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise UnreadableClipError(f"not a video that can be decoded: {what_is_wrong(error)}") from error


def _rgb(frame: Any, size_px: tuple[int, int]) -> ImageArray:
    """A decoded frame as an upright array; the size is that before it is turned."""
    if size_px != (frame.width, frame.height):
        frame = frame.reformat(width=size_px[0], height=size_px[1], format="rgb24", interpolation="AREA")
    pixels = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    quarters = round(getattr(frame, "rotation", 0) / 90) % 4  # counterclockwise; PyAV before 14 does not tell
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels


def _folder_frames(path: Path, max_frame_px: int) -> Iterator[ImageArray]:
    """Frames of a folder of images, in natural order."""
    try:
        files = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    except OSError as error:
        raise UnreadableClipError(f"the folder cannot be read: {error}") from error
    for file in sorted(files, key=lambda p: natural_key(p.name)):
        try:
            with Image.open(file) as image:
                upright = ImageOps.exif_transpose(image).convert("RGB")
                size = _fitted(upright.width, upright.height, max_frame_px)
                yield np.asarray(upright.resize(size, Image.Resampling.BOX) if size != upright.size else upright)
        except (OSError, EOFError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
            raise UnreadableClipError(f"frame {file.name} cannot be read: {error}") from error
