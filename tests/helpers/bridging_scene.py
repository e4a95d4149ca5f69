"""Photos, clips and matches of known truth for the tests of the bridging generators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image

from interpose_sfm.clips.protocol import GeneratorContext
from interpose_sfm.options import BridgingOptions, GenerationOptions
from interpose_sfm.products import Features, ImageArray, ImagePair, Intrinsics, Matches
from interpose_sfm.video_models.protocol import GenerationContext

WIDTH_PX, HEIGHT_PX = 320, 240
SHIFT_PX = 120
CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx", ".gif": "gif"}


def texture(seed: int, width_px: int, height_px: int) -> ImageArray:
    """Smooth noise at many scales, the coarse ones strongest, so that near views look alike and far ones do not."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height_px, width_px, 3))
    for cell_px, strength in ((160, 60), (60, 45), (20, 35), (8, 25), (4, 12)):
        cells = rng.uniform(-1, 1, (height_px // cell_px + 2, width_px // cell_px + 2, 3))
        layer = np.stack(
            [
                np.asarray(
                    Image.fromarray(c.astype(np.float32)).resize((width_px, height_px), Image.Resampling.BICUBIC)
                )
                for c in np.moveaxis(cells, 2, 0)
            ],
            axis=2,
        )
        image += strength * layer
    return (image + 128).clip(0, 255).astype(np.uint8)


def pan(seed: int, num_frames: int, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> list[ImageArray]:
    """Views that move by `SHIFT_PX` along x over a wide texture; the first is photo A, the last photo B."""
    wide = texture(seed, width_px + SHIFT_PX, height_px)
    lefts = np.linspace(0, SHIFT_PX, num_frames).round().astype(int)
    return [np.ascontiguousarray(wide[:, left : left + width_px]) for left in lefts]


def shown(
    photo: ImageArray, crop_px: Sequence[float], size_px: tuple[int, int], border_px: tuple[int, int]
) -> ImageArray:
    """What a generator makes of a photo: the crop (left, top, right, bottom) scaled to a size, with black borders."""
    scaled = Image.fromarray(photo).resize(size_px, Image.Resampling.LANCZOS, box=tuple(crop_px))
    x, y = border_px
    return np.pad(np.asarray(scaled), ((y, y), (x, x), (0, 0)))


def write_video(path: Path, frames: Sequence[ImageArray], **muxer: str) -> Path:
    """Encode frames with the usual codec of the file's type."""
    with av.open(str(path), "w", options=muxer) as container:
        stream = container.add_stream(CODECS[path.suffix], rate=15)
        stream.width, stream.height = frames[0].shape[1], frames[0].shape[0]
        stream.pix_fmt = "rgb8" if path.suffix == ".gif" else "yuv420p"
        if path.suffix != ".gif":
            stream.bit_rate = 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_folder(path: Path, frames: Sequence[ImageArray]) -> Path:
    """Frames as images whose alphabetical order is wrong: frame_10 comes before frame_2."""
    path.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"frame_{index}.png")
    return path


def camera(image: ImageArray, focal_px: float = 300.0) -> Intrinsics:
    """A camera with its principal point in the middle."""
    height, width = image.shape[:2]
    return Intrinsics(width, height, focal_px, width / 2, height / 2)


def features(points_px: np.ndarray, image: ImageArray) -> Features:
    """Features at given positions."""
    count = len(points_px)
    descriptors = np.zeros((count, 1), np.float32)
    return Features(
        np.asarray(points_px, float), descriptors, np.ones(count, np.float32), (image.shape[1], image.shape[0])
    )


def matched(
    points_in_a: np.ndarray, points_in_b: np.ndarray, a: ImageArray, b: ImageArray
) -> tuple[Features, Features, Matches]:
    """Row i of one with row i of the other."""
    rows = np.arange(len(points_in_a), dtype=np.uint32)
    return (
        features(points_in_a, a),
        features(points_in_b, b),
        Matches(np.stack([rows, rows], 1), np.ones(len(rows), np.float32)),
    )


def context(
    photos: Mapping[str, ImageArray],
    matches: Mapping[ImagePair, tuple[np.ndarray, np.ndarray]] | None = None,
    focal_px: float = 300.0,
    **options: object,
) -> GeneratorContext:
    """A context over arrays; pairs without matches have none, and swapped pairs have them swapped."""
    table = dict(matches or {})
    table.update({ImagePair(pair.b, pair.a): (b, a) for pair, (a, b) in list(table.items())})

    def features_and_matches(pair: ImagePair) -> tuple[Features, Features, Matches]:
        points = table.get(pair, (np.zeros((0, 2)), np.zeros((0, 2))))
        return matched(*points, photos[pair.a], photos[pair.b])

    return GeneratorContext(
        photo_names=tuple(photos),
        load_image=photos.__getitem__,
        intrinsics=lambda name: camera(photos[name], focal_px),
        features_and_matches=features_and_matches,
        options=BridgingOptions(**options),  # type: ignore[arg-type]
    )


def generation_context(
    photos: Mapping[str, ImageArray], store_dir: Path | None = None, frames_per_clip: int = 6, **options: object
) -> GenerationContext:
    """What making clips needs, over arrays."""
    return GenerationContext(
        photo_names=tuple(photos),
        load_image=photos.__getitem__,
        bridging=BridgingOptions(max_frame_px=320, frames_per_clip=frames_per_clip),
        generation=GenerationOptions(**options),  # type: ignore[arg-type]
        store_dir=store_dir,
    )


def similarity(x: ImageArray, y: ImageArray) -> float:
    """Correlation coefficient of two images after scaling both to 64x48."""
    small = [
        np.asarray(Image.fromarray(z).convert("L").resize((64, 48), Image.Resampling.BOX), float).ravel()
        for z in (x, y)
    ]
    return float(np.corrcoef(small[0], small[1])[0, 1])
