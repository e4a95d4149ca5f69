"""Clips made of photos: what a perfect video model would imagine between two of them, and ways in which models fail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

TRUE = "true"
KINDS = (TRUE, "cut", "fade", "elsewhere", "mirrored", "drift")
"""Of `frames`, those that the benchmark makes: see there."""

WITH_OTHERS = ("cut", "elsewhere", "mixed")
"""Those that show another place."""

ALL = "all"
"""The clips of all `KINDS` at once, among which a score has to choose."""

MAX_FRAME_PX = 640
"""Longer side of the frames, as those of video models have it."""

MAX_ZOOM = 1.4


def frames(kind: str, between: Sequence[Path], others: Sequence[Path]) -> list[Image.Image]:
    """The frames of a clip from the first photo to the last, in the size of the first.

    What lies between is

    * ``true``: the photos between them;
    * ``cut``: the first of these, then photos of another place;
    * ``fade``: the first photo blended over into the last;
    * ``elsewhere``: photos of another place;
    * ``mirrored``: the photos between them, mirrored;
    * ``drift``: the photos between them, the focal length growing from one to the next up to 1.4 times;
    * ``half``: the first half of the way alone, and the clip ends there;
    * ``mixed``: the photos between them in turns with photos of another place.

    Args:
        kind: One of these.
        between: The two photos and those between them, in order.
        others: Photos of another place.
    """
    first, last = read(between[0]), read(between[-1])
    inner = [read(path).resize(first.size) for path in between[1:-1]]
    foreign = [read(path).resize(first.size) for path in others[: len(inner)]] if kind in WITH_OTHERS else []
    if kind == "cut":
        inner = [*inner[:1], *foreign[1:]]
    elif kind == "fade":
        inner = [Image.blend(first, last.resize(first.size), share) for share in (0.2, 0.4, 0.6, 0.8)]
    elif kind == "elsewhere":
        inner = foreign
    elif kind == "mirrored":
        inner = [frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for frame in inner]
    elif kind == "drift":
        inner = [zoomed(frame, 1 + (MAX_ZOOM - 1) * (i + 1) / len(inner)) for i, frame in enumerate(inner)]
    elif kind == "half":
        return [first, *inner[: (len(inner) + 1) // 2]]
    elif kind == "mixed":
        inner = [frame for pair in zip(inner, foreign, strict=False) for frame in pair]
    elif kind != TRUE:
        raise ValueError(f"there is no clip {kind}")
    return [first, *inner, last]


def write_clip(folder: Path, number: int, kind: str, between: Sequence[Path], others: Sequence[Path]) -> Path:
    """A folder ``a__b_NUMBER`` with the frames of a clip, as ``--clips`` reads it."""
    clip = folder / f"a__b_{number}"
    clip.mkdir(parents=True)
    for index, frame in enumerate(frames(kind, between, others)):
        frame.thumbnail((MAX_FRAME_PX, MAX_FRAME_PX), Image.Resampling.LANCZOS)
        frame.save(clip / f"{index:03d}.png", compress_level=1)
    return clip


def zoomed(frame: Image.Image, zoom: float) -> Image.Image:
    """The middle of a picture, so many times larger: the same size, a longer focal length."""
    width, height = frame.width / zoom, frame.height / zoom
    left, top = (frame.width - width) / 2, (frame.height - height) / 2
    return frame.resize(frame.size, Image.Resampling.LANCZOS, (left, top, left + width, top + height))


def read(path: Path) -> Image.Image:
    """A photo."""
    with Image.open(path) as photo:
        return photo.convert("RGB")
