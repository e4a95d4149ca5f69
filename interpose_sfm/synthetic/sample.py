"""A small photo collection on disk whose true poses are known: two groups of photos and a clip that bridges them.

Inside a group the photos overlap well. Between the groups the view changes by so much that direct matching fails,
although a part of the scene is in both; frames along the way between them can be matched step by step.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from interpose_sfm.options.checks import require
from interpose_sfm.products import FrameMapping, ImageArray, ImagePair, Intrinsics, Pose
from interpose_sfm.synthetic.cameras import Viewpoint, orbit
from interpose_sfm.synthetic.render import RenderOptions, render
from interpose_sfm.synthetic.scene import DEFAULT_TEXELS_PER_M, Scene

logger = logging.getLogger(__name__)

PHOTO_FOLDER = "photos"
CLIP_FOLDER = "clips"
TRUTH_FILE = "truth.json"

_FOCAL_35MM = 28
_FULL_FRAME_DIAGONAL_MM = 43.27  # COLMAP's constant; a 35 mm equivalent refers to the diagonal of the picture
_SENSOR_DIAGONAL_MM = 7.66
_JPEG_QUALITY = 95
_FRAMES_PER_S = 8
_CLIP_CODECS = ("libx264", "mpeg4")
_FORMAT_VERSION = 2

# EXIF tags by their numbers in the standard.
_EXIF_MAKE, _EXIF_MODEL, _EXIF_IFD = 0x010F, 0x0110, 0x8769
_EXIF_FOCAL_MM, _EXIF_FOCAL_35MM = 0x920A, 0xA405


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """What the collection looks like. Equal options give equal pixels.

    Attributes:
        seed: Of the scene, the places of the photographer, exposure and noise.
        width_px: Width of the photos; the height is three quarters of it.
        photos_per_group: At least 3.
        step_deg: Change of the photographer's place inside a group, as an angle about the corner of the building.
        gap_deg: The same between the last photo of the first group and the first photo of the second. Below about 70
            degrees learned features match the two photos directly and reliably.
        num_frames: Frames of the clip; the first and the last show the two photos next to the gap.
        supersampling: Rays per pixel along each axis.
    """

    seed: int = 0
    width_px: int = 640
    photos_per_group: int = 5
    step_deg: float = 8.0
    gap_deg: float = 74.0
    num_frames: int = 25
    supersampling: int = 2

    def __post_init__(self) -> None:
        for name, least in (("width_px", 64), ("photos_per_group", 3), ("num_frames", 3)):
            require(getattr(self, name) >= least, name, getattr(self, name), f">= {least}")
        if not (self.step_deg > 0 and self.gap_deg > 0 and 2 * self.arc_deg + self.gap_deg <= 180):
            raise ValueError(
                f"options step-deg, gap-deg and photos-per-group: got {self.step_deg:g}, {self.gap_deg:g} and "
                f"{self.photos_per_group}, expected positive angles that make an arc of at most 180 degrees"
            )

    @property
    def arc_deg(self) -> float:
        """Arc that one group covers."""
        return self.step_deg * (self.photos_per_group - 1)


@dataclass(frozen=True)
class SampleTruth:
    """A collection on disk and everything that is known about it.

    Attributes:
        folder: Holds ``photos/``, ``clips/`` and ``truth.json``.
        seed: Of the collection.
        intrinsics: Camera of all photos.
        cam_from_world: Pose of every photo by name, in metres.
        groups: Names of the photos of each group.
        gap: Last photo of the first group and first photo of the second.
        clip_name: File name below ``clips/``.
        clip_intrinsics: Camera of the clip's frames.
        clip_cam_from_world: Pose of every frame; the first and the last are those of the photos next to the gap.
        frame_from_photo: Where a photo lies in a frame; frames are wider than photos, which are cut above and below.
    """

    folder: Path
    seed: int
    intrinsics: Intrinsics
    cam_from_world: Mapping[str, Pose]
    groups: tuple[tuple[str, ...], tuple[str, ...]]
    gap: ImagePair
    clip_name: str
    clip_intrinsics: Intrinsics
    clip_cam_from_world: tuple[Pose, ...]
    frame_from_photo: FrameMapping

    @property
    def photo_dir(self) -> Path:
        """Folder of the photos."""
        return self.folder / PHOTO_FOLDER

    @property
    def clip_dir(self) -> Path:
        """Folder of the clip."""
        return self.folder / CLIP_FOLDER


def write_sample(
    folder: Path, options: SampleOptions | None = None, *, progress: Callable[[int, int], None] | None = None
) -> SampleTruth:
    """Render the collection into ``folder``; an older collection there is replaced, other files are left alone.

    The pictures are moved to their places when all are done and ``truth.json`` comes last, so that a folder with a
    truth is complete.

    Args:
        folder: Made if missing.
        options: Defaults suit a demonstration of a minute or two on two cores.
        progress: Called with (pictures done, pictures in all).

    Raises:
        ValueError: The folder has photos or clips of its own.
        ImportError: PyAV, which writes the clip, is not installed.
    """
    options = options or SampleOptions()
    folder = Path(folder)
    _refuse_foreign(folder)
    truth = plan_sample(folder, options)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        _render_into(partial, truth, options, progress)
        (partial / TRUTH_FILE).write_text(json.dumps(_to_json(truth), indent=1) + "\n", encoding="utf-8")
        (folder / TRUTH_FILE).unlink(missing_ok=True)
        for name in (PHOTO_FOLDER, CLIP_FOLDER):
            shutil.rmtree(folder / name, ignore_errors=True)
            os.replace(partial / name, folder / name)
        os.replace(partial / TRUTH_FILE, folder / TRUTH_FILE)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
    logger.info("wrote %d photos and a clip of %d frames", len(truth.cam_from_world), options.num_frames)
    return truth


def read_sample(folder: Path) -> SampleTruth:
    """The truth of a collection that :func:`write_sample` wrote.

    Raises:
        ValueError: The folder holds no truth, or one of another format.
    """
    path = Path(folder) / TRUTH_FILE
    if not path.is_file():
        raise ValueError(f"{folder} is no sample collection: {TRUTH_FILE} is missing")
    try:
        return _from_json(Path(folder), json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({error}); write it anew") from error


def _from_json(folder: Path, content: Any) -> SampleTruth:
    if content.get("format_version") != _FORMAT_VERSION:
        raise ValueError(f"got format {content.get('format_version')}, expected {_FORMAT_VERSION}")
    clip = content["clip"]
    return SampleTruth(
        folder=folder,
        seed=content["seed"],
        intrinsics=_intrinsics_from_json(content["intrinsics"]),
        cam_from_world={name: _pose_from_json(pose) for name, pose in content["cam_from_world"].items()},
        groups=(tuple(content["groups"][0]), tuple(content["groups"][1])),
        gap=ImagePair(*content["gap"]),
        clip_name=clip["name"],
        clip_intrinsics=_intrinsics_from_json(clip["intrinsics"]),
        clip_cam_from_world=tuple(_pose_from_json(pose) for pose in clip["cam_from_world"]),
        frame_from_photo=FrameMapping(tuple(clip["scale"]), tuple(clip["offset_px"])),
    )


def plan_sample(folder: Path, options: SampleOptions) -> SampleTruth:
    """Everything about a collection that is known before the first pixel is rendered."""
    first, second = _viewpoints(options)
    names = tuple(
        tuple(f"{group}_{index + 1}.jpg" for index in range(options.photos_per_group)) for group in ("left", "right")
    )
    photos = dict(zip(names[0] + names[1], (view.cam_from_world for view in first + second), strict=True))
    gap = ImagePair(names[0][-1], names[1][0])
    intrinsics = _photo_intrinsics(options.width_px)
    clip_intrinsics, frame_from_photo = _clip_camera(intrinsics)
    return SampleTruth(
        folder=folder,
        seed=options.seed,
        intrinsics=intrinsics,
        cam_from_world=photos,
        groups=(names[0], names[1]),
        gap=gap,
        clip_name=f"{Path(gap.a).stem}__{Path(gap.b).stem}.mp4",
        clip_intrinsics=clip_intrinsics,
        clip_cam_from_world=orbit(first[-1], second[0], options.num_frames),
        frame_from_photo=frame_from_photo,
    )


def _viewpoints(options: SampleOptions) -> tuple[tuple[Viewpoint, ...], tuple[Viewpoint, ...]]:
    """Two arcs that are symmetric about the corner of the building, walked as by a careless photographer."""
    rng = np.random.default_rng([options.seed, 1])

    def standing_at(azimuth_deg: float) -> Viewpoint:
        # Look past the corner at the facade that the photographer stands before.
        share = (azimuth_deg - 45.0) / 45.0
        x, y = -1.5 * max(0.0, 0.5 - 0.5 * share), 1.5 * max(0.0, 0.5 + 0.5 * share)
        jitter = rng.uniform(-1.0, 1.0, 6)
        return Viewpoint(
            azimuth_deg + 0.1 * options.step_deg * jitter[0],
            9.0 + 0.4 * jitter[1],
            1.7 + 0.25 * jitter[2],
            (x + 0.2 * jitter[3], y + 0.2 * jitter[4], 2.2 + 0.15 * jitter[5]),
        )

    steps = options.step_deg * np.arange(options.photos_per_group)
    last_of_first, first_of_second = 45.0 - options.gap_deg / 2.0, 45.0 + options.gap_deg / 2.0
    first = tuple(standing_at(last_of_first - step) for step in steps[::-1])
    second = tuple(standing_at(first_of_second + step) for step in steps)
    return first, second


def _photo_intrinsics(width_px: int) -> Intrinsics:
    height_px = round(0.75 * width_px)
    focal_px = _FOCAL_35MM / _FULL_FRAME_DIAGONAL_MM * float(np.hypot(width_px, height_px))
    return Intrinsics(width_px, height_px, focal_px, width_px / 2.0, height_px / 2.0, is_trusted=True)


def _clip_camera(photo: Intrinsics) -> tuple[Intrinsics, FrameMapping]:
    """A video model's frame: about 16:9, sides that are multiples of 16, the photo scaled to its width and cut."""
    width_px = max(64, 16 * round(0.96 * photo.width_px / 16))
    height_px = max(32, 16 * round(width_px * 9 / 16 / 16))
    scale = width_px / photo.width_px
    offset_y_px = (height_px - scale * photo.height_px) / 2.0
    camera = Intrinsics(
        width_px,
        height_px,
        scale * photo.focal_px,
        scale * photo.cx_px,
        scale * photo.cy_px + offset_y_px,
        is_trusted=True,
    )
    return camera, FrameMapping((scale, scale), (0.0, offset_y_px))


def _render_into(
    folder: Path, truth: SampleTruth, options: SampleOptions, progress: Callable[[int, int], None] | None
) -> None:
    """Render the photos and the clip of a collection into an empty folder."""
    rng = np.random.default_rng([options.seed, 2])
    # About one texel per pixel at the facades.
    scene = Scene.courtyard(options.seed, texels_per_m=DEFAULT_TEXELS_PER_M * options.width_px / 800.0)
    exposures = dict(zip(truth.cam_from_world, rng.uniform(0.94, 1.06, len(truth.cam_from_world)), strict=True))
    num_pictures = len(truth.cam_from_world) + len(truth.clip_cam_from_world)
    (folder / PHOTO_FOLDER).mkdir()
    (folder / CLIP_FOLDER).mkdir()
    for index, (name, pose) in enumerate(truth.cam_from_world.items()):
        develop = RenderOptions(
            supersampling=options.supersampling,
            exposure=float(exposures[name]),
            noise_sigma=1.5,
            seed=1000 * options.seed + index,
        )
        image = render(scene, truth.intrinsics, pose, develop).image
        _write_photo(folder / PHOTO_FOLDER / name, image)
        if progress:
            progress(index + 1, num_pictures)

    def frames() -> Iterable[ImageArray]:
        last = len(truth.clip_cam_from_world) - 1
        for index, pose in enumerate(truth.clip_cam_from_world):
            exposure = np.interp(index, (0, last), (exposures[truth.gap.a], exposures[truth.gap.b]))
            develop = RenderOptions(supersampling=options.supersampling, exposure=float(exposure))
            yield render(scene, truth.clip_intrinsics, pose, develop).image
            if progress:
                progress(len(truth.cam_from_world) + index + 1, num_pictures)

    write_clip(folder / CLIP_FOLDER / truth.clip_name, frames())


def _write_photo(path: Path, image: ImageArray) -> None:
    exif = Image.Exif()
    exif[_EXIF_MAKE], exif[_EXIF_MODEL] = "Synthetic", f"Pinhole {_FOCAL_35MM}"
    details = exif.get_ifd(_EXIF_IFD)
    details[_EXIF_FOCAL_35MM] = _FOCAL_35MM
    focal_mm = _FOCAL_35MM * _SENSOR_DIAGONAL_MM / _FULL_FRAME_DIAGONAL_MM
    details[_EXIF_FOCAL_MM] = IFDRational(round(100 * focal_mm), 100)
    Image.fromarray(image).save(path, quality=_JPEG_QUALITY, exif=exif)


def write_clip(path: Path, frames: Iterable[ImageArray]) -> None:
    """Write an mp4 of RGB frames of one size with even sides.

    Raises:
        ImportError: PyAV is not installed.
        ValueError: There are no frames, or a side is odd, or sizes differ.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError("writing a clip needs PyAV: pip install av") from error
    from av.video.stream import VideoStream

    remaining = iter(frames)
    first = next(remaining, None)
    if first is None or first.shape[0] % 2 or first.shape[1] % 2:
        raise ValueError(f"frames with even sides expected, got {'none' if first is None else first.shape}")
    codec = next(name for name in _CLIP_CODECS if name in av.codecs_available)
    # One thread: how the encoder cuts a frame into slices must not depend on the machine.
    settings = {"threads": "1"} | ({"crf": "17"} if codec == "libx264" else {"qscale": "2"})
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=_FRAMES_PER_S, options=settings)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in chain([first], remaining):
            if image.shape != first.shape:
                raise ValueError(f"frames of one size expected, got {first.shape} and then {image.shape}")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode(None))


def _refuse_foreign(folder: Path) -> None:
    """Only the pictures of an older collection may be replaced."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; name another one for the sample collection")
    taken = [name for name in (PHOTO_FOLDER, CLIP_FOLDER) if (folder / name).exists()]
    if taken and not (folder / TRUTH_FILE).is_file():
        raise ValueError(
            f"{folder} has {' and '.join(taken)} of its own; name another folder for the sample collection"
        )


def _to_json(truth: SampleTruth) -> dict[str, object]:
    return {
        "format_version": _FORMAT_VERSION,
        "seed": truth.seed,
        "intrinsics": asdict(truth.intrinsics),
        "cam_from_world": {name: _pose_to_json(pose) for name, pose in truth.cam_from_world.items()},
        "groups": truth.groups,
        "gap": (truth.gap.a, truth.gap.b),
        "clip": {
            "name": truth.clip_name,
            "intrinsics": asdict(truth.clip_intrinsics),
            "cam_from_world": [_pose_to_json(pose) for pose in truth.clip_cam_from_world],
            "scale": truth.frame_from_photo.scale,
            "offset_px": truth.frame_from_photo.offset_px,
        },
    }


def _intrinsics_from_json(content: Mapping[str, Any]) -> Intrinsics:
    return Intrinsics(**{**content, "distortion": tuple(content["distortion"])})


def _pose_to_json(pose: Pose) -> dict[str, list[float]]:
    return {"rotation": pose.rotation.tolist(), "translation": pose.translation.tolist()}


def _pose_from_json(content: Mapping[str, list[float]]) -> Pose:
    return Pose(np.array(content["rotation"]), np.array(content["translation"]))
