"""MP4 files in memory: frames in, bytes out, and what such bytes hold."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from interpose_sfm.clips.video import UnreadableClipError, what_is_wrong
from interpose_sfm.products import ClipFormat, ImageArray

_CRF = "8"
"""Quality of the encoder. Real photos panned at 832x480 come back with 43 dB, half of which is a shift of brightness by
one level that the colour format makes at any quality; above it the files grow and the pictures hardly gain."""


def encode_mp4(frames: Sequence[ImageArray], fps: float) -> bytes:
    """H.264 in MP4 that every player shows: 4:2:0, except where a side is odd, which needs 4:4:4.

    Args:
        frames: (height, width, 3) uint8 RGB, all of one size.
        fps: Frames per second.

    Raises:
        ValueError: No frames, or frames of different sizes or types.
    """
    import av

    if not frames:
        raise ValueError("got no frames, expected at least one")
    shape = frames[0].shape
    for frame in frames:
        if frame.shape != shape or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"got a frame of {frame.dtype} {frame.shape}, expected uint8 {shape}")
    height_px, width_px = shape[:2]
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options={"crf": _CRF})
        stream.width, stream.height = width_px, height_px
        stream.pix_fmt = "yuv420p" if width_px % 2 == height_px % 2 == 0 else "yuv444p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return data.getvalue()


def format_of(data: bytes) -> ClipFormat:
    """Size, number and rate of the frames that can be decoded.

    Raises:
        UnreadableClipError: Not a video, or cut off.
    """
    import av

    try:
        with av.open(io.BytesIO(data), "r") as container:
            if not container.streams.video:
                raise UnreadableClipError("no video stream")
            stream = container.streams.video[0]
            sizes = [(frame.width, frame.height) for frame in container.decode(stream)]
            declared, rate = stream.frames, stream.average_rate
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise UnreadableClipError(f"not a video that can be decoded: {what_is_wrong(error)}") from error
    if not sizes or len(sizes) < declared or len(set(sizes)) != 1:
        raise UnreadableClipError(f"{len(sizes)} of {declared} frames can be decoded, in {len(set(sizes))} sizes")
    width_px, height_px = sizes[0]
    return ClipFormat(width_px=width_px, height_px=height_px, num_frames=len(sizes), fps=float(rate or 0))
