"""The demonstration: a rendered collection of known geometry, reconstructed with and without the fallback."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from interpose_sfm import __version__, geometry
from interpose_sfm.options import ReconstructOptions
from interpose_sfm.products import FloatArray, Pose
from interpose_sfm.run_log import Progress
from interpose_sfm.storage.atomic import atomic_write_bytes, atomic_write_text
from interpose_sfm.storage.content_keys import content_key
from interpose_sfm.storage.folders import check_ours
from interpose_sfm.storage.names import refuse_links
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.synthetic.cameras import center_in_world
from interpose_sfm.synthetic.sample import SampleOptions, SampleTruth, read_sample, write_sample
from interpose_sfm.synthetic.scoring import auc, pose_errors_deg

if TYPE_CHECKING:
    import pycolmap

    from interpose_sfm.report import ReconstructionResult

logger = logging.getLogger(__name__)

SAMPLE_FOLDER = "sample"
RECONSTRUCTION_FOLDER = "reconstruction"
PICTURE_FILE = "before_after.png"
_KEY_FILE = "sample_key.txt"
_MARKER = ".interpose_sfm_demo"


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """What is rendered, and how it is reconstructed.

    Attributes:
        sample: The collection.
        reconstruct: The run; its clip folder is replaced by that of the collection.
    """

    sample: SampleOptions = field(default_factory=SampleOptions)
    reconstruct: ReconstructOptions = field(default_factory=ReconstructOptions)


@dataclass(frozen=True)
class DemoScore:
    """The largest of some models against the truth.

    Attributes:
        num_photos: Photos of the collection.
        num_registered: Photos in the model.
        num_models: Models there are.
        median_error_deg, max_error_deg: Of the relative poses of all pairs of photos in the model; NaN without a model.
        auc_5, auc_30: Area under the recall curve of all pairs of the collection up to 5 and 30 degrees, percent; a
            pair with a photo that is not in the model counts as wrong.
    """

    num_photos: int
    num_registered: int
    num_models: int
    median_error_deg: float
    max_error_deg: float
    auc_5: float
    auc_30: float


@dataclass(frozen=True)
class DemoResult:
    """What :func:`run_demo` returns.

    Attributes:
        truth: The collection on disk.
        reconstruction: Result of the run.
        before: Score of plain COLMAP's models, before the fallback.
        after: Score of the final models.
        picture: PNG that shows both from above.
    """

    truth: SampleTruth
    reconstruction: ReconstructionResult
    before: DemoScore
    after: DemoScore
    picture: Path


def run_demo(output: Path, options: DemoOptions | None = None, progress: Progress | None = None) -> DemoResult:
    """Render the sample collection, reconstruct it with its clip, and score the models against the truth.

    A second run into the same folder takes what is there.

    Args:
        output: Folder for the collection, the reconstruction and the picture.
        options: Of the collection and of the run.
        progress: Called with the stage, what is done and the total.

    Raises:
        ValueError: The folder holds files of something else.
        WorkspaceBusyError: Another run works in the folder.
    """
    from interpose_sfm.colmap import reconstruction
    from interpose_sfm.workflows import reconstruct
    from interpose_sfm.workflows.start_checks import check_options

    options, output = options or DemoOptions(), Path(output)
    check_options(options.reconstruct)
    _claim(output)
    # 1. scene -> photos, clip and truth
    truth = provide_sample(output, options.sample, progress)
    # 2. photos and clip -> models
    run = options.reconstruct
    trusted = replace(run.consensus, accept_unseen=True)  # the clip is a film of the scene, nothing in it is imagined
    run = replace(run, bridging=replace(run.bridging, clip_dirs=(truth.clip_dir,)), consensus=trusted)
    result = reconstruct.reconstruct(truth.photo_dir, output / RECONSTRUCTION_FOLDER, run, progress)
    # 3. models -> scores and picture
    base_dir = Workspace(result.output).base_dir / "models"
    before = reconstruction.read_models(base_dir, run.base.min_model_size) if base_dir.is_dir() else []
    after = reconstruction.read_models(result.output / "sparse", run.base.min_model_size)
    picture = output / PICTURE_FILE
    _write_png(picture, draw_before_after(truth, before, after))
    return DemoResult(truth, result, score_models(truth, before), score_models(truth, after), picture)


def _claim(output: Path) -> None:
    """Make the folder ours, unless something else lies in it.

    Raises:
        ValueError: It holds files of something else, or is no folder.
    """
    if not _is_of_earlier_version(output):
        check_ours(output, _MARKER, "output folder")
    refuse_links(output)
    output.mkdir(parents=True, exist_ok=True)
    atomic_write_text(output / _MARKER, "a demonstration of interpose_sfm; it may be deleted\n")


def _is_of_earlier_version(output: Path) -> bool:
    """Whether a demonstration lies there that has no marker."""
    key, size = output / _KEY_FILE, 65
    return key.is_file() and key.stat().st_size == size and (output / SAMPLE_FOLDER).is_dir()


def score_models(truth: SampleTruth, models: Sequence[pycolmap.Reconstruction]) -> DemoScore:
    """Score the first of some models, the largest, against the truth."""
    from interpose_sfm.colmap import reconstruction

    poses = reconstruction.poses(models[0]) if models else {}
    shared = {name: pose for name, pose in truth.cam_from_world.items() if name in poses}
    all_errors_deg = pose_errors_deg(truth.cam_from_world, poses)
    errors_deg = pose_errors_deg(shared, poses)
    return DemoScore(
        num_photos=len(truth.cam_from_world),
        num_registered=len(shared),
        num_models=len(models),
        median_error_deg=float(np.median(errors_deg)) if len(errors_deg) else float("nan"),
        max_error_deg=float(np.max(errors_deg)) if len(errors_deg) else float("nan"),
        auc_5=auc(all_errors_deg, 5.0),
        auc_30=auc(all_errors_deg, 30.0),
    )


def provide_sample(output: Path, options: SampleOptions, progress: Progress | None) -> SampleTruth:
    """The collection in the output folder, rendered only if it is not there yet."""
    folder, key_path = output / SAMPLE_FOLDER, output / _KEY_FILE
    key = content_key(options, __version__)
    if key_path.is_file() and key_path.read_text(encoding="utf-8").strip() == key:
        try:
            truth = read_sample(folder)
        except ValueError as error:
            logger.info("rendering the collection again: %s", error)
        else:
            files = [truth.photo_dir / name for name in truth.cam_from_world] + [truth.clip_dir / truth.clip_name]
            if all(file.is_file() for file in files):
                return truth
    truth = write_sample(
        folder, options, progress=None if progress is None else lambda done, total: progress("rendering", done, total)
    )
    atomic_write_text(key_path, f"{key}\n")
    return truth


# ---------------------------------------------------------------- the picture

BOX_PX, MARGIN_PX, TITLE_PX, _LEGEND_PX = 360, 12, 44, 30
_SUPERSAMPLING = 2
_MAX_BOXES = 3  # per side
_INK, GREY, _FRAME = (40, 40, 40), (150, 150, 150), (205, 205, 205)
GROUP_COLORS = ((31, 97, 180), (214, 90, 24))


@dataclass(frozen=True)
class _Model:
    """A model in the frame of the truth."""

    cam_from_world: dict[str, Pose]
    points: FloatArray
    colors: FloatArray


def draw_before_after(
    truth: SampleTruth, before: Sequence[pycolmap.Reconstruction], after: Sequence[pycolmap.Reconstruction]
) -> Image.Image:
    """Models and cameras seen from above, a box for each model, those before the fallback on the left.

    Models are moved into the frame of the truth, since models that are not connected have no common one.
    """
    sides = [_boxes("plain COLMAP", truth, before), _boxes("with fallback", truth, after)]
    boxes = sides[0] + sides[1]
    window = _Window.around(truth, [model for _, model in boxes if model is not None])
    step = BOX_PX + MARGIN_PX
    size = (MARGIN_PX + step * len(boxes) + 2 * MARGIN_PX, TITLE_PX + BOX_PX + _LEGEND_PX)
    image = Image.new("RGB", (size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING), "white")
    for index, (title, model) in enumerate(boxes):
        left = MARGIN_PX + step * index + (2 * MARGIN_PX if index >= len(sides[0]) else 0)
        _draw_box(image, (left, TITLE_PX), title, model, truth, window)
    _draw_legend(image, size)
    return image.resize(size, Image.Resampling.LANCZOS)


def _boxes(
    title: str, truth: SampleTruth, models: Sequence[pycolmap.Reconstruction]
) -> list[tuple[str, _Model | None]]:
    """Title and content of the boxes of one side; a single empty one where there is no model."""
    num_photos = len(truth.cam_from_world)
    if not models:
        return [(f"{title}: no model", None)]
    boxes: list[tuple[str, _Model | None]] = []
    for index, model in enumerate(models[:_MAX_BOXES]):
        which = f", model {index + 1} of {len(models)}" if len(models) > 1 else ""
        aligned = _aligned(truth, model)
        note = "" if aligned is not None else " (not drawn)"
        boxes.append((f"{title}{which}: {model.num_reg_images()} of {num_photos} photos{note}", aligned))
    return boxes


def _aligned(truth: SampleTruth, model: pycolmap.Reconstruction) -> _Model | None:
    """The model in the frame of the truth; None where its camera positions do not determine that."""
    from interpose_sfm.colmap import reconstruction

    poses = {name: pose for name, pose in reconstruction.poses(model).items() if name in truth.cam_from_world}
    estimated = np.array([center_in_world(pose) for pose in poses.values()])
    true = np.array([center_in_world(truth.cam_from_world[name]) for name in poses])
    try:
        world_from_model = geometry.fit_similarity(estimated, true)
    except ValueError as error:
        logger.warning("a model of %d photos is not drawn: %s", len(poses), error)
        return None
    points = list(model.points3D.values())
    return _Model(
        {name: world_from_model.move_camera(pose) for name, pose in poses.items()},
        world_from_model.apply(np.array([point.xyz for point in points]).reshape(-1, 3)),
        np.array([point.color for point in points], np.float64).reshape(-1, 3),
    )


@dataclass(frozen=True)
class _Window:
    """The square of the ground that every box shows, x to the right and y up."""

    center: FloatArray
    side: float

    @classmethod
    def around(cls, truth: SampleTruth, models: Sequence[_Model]) -> _Window:
        centers = np.array([center_in_world(pose)[:2] for pose in truth.cam_from_world.values()])
        shown = [centers] + [np.percentile(m.points[:, :2], (15, 85), axis=0) for m in models if len(m.points)]
        low, high = np.min(np.vstack(shown), axis=0), np.max(np.vstack(shown), axis=0)
        return cls((low + high) / 2.0, 1.25 * float(np.max(high - low)))

    def pixels(self, points: FloatArray) -> FloatArray:
        """(n, 2) positions within a box of (n, 2 or 3) points, supersampled pixels."""
        relative = (points[:, :2] - self.center) / self.side
        return np.asarray((relative * (1.0, -1.0) + 0.5) * BOX_PX * _SUPERSAMPLING)


def _draw_box(
    image: Image.Image,
    corner: tuple[int, int],
    title: str,
    model: _Model | None,
    truth: SampleTruth,
    window: _Window,
) -> None:
    side = BOX_PX * _SUPERSAMPLING
    box = Image.new("RGB", (side, side), (252, 252, 252))
    draw = ImageDraw.Draw(box)
    if model is not None:
        _draw_points(draw, model, window)
    for name, true_pose in truth.cam_from_world.items():
        color = GROUP_COLORS[0 if name in truth.groups[0] else 1]
        if model is not None and name in model.cam_from_world:
            _draw_camera(draw, model.cam_from_world[name], truth, window, color)
        else:
            _draw_camera(draw, true_pose, truth, window, None)
    draw.rectangle((0, 0, side - 1, side - 1), outline=_FRAME, width=_SUPERSAMPLING)
    left, top = (value * _SUPERSAMPLING for value in corner)
    image.paste(box, (left, top))
    font = ImageFont.load_default(15 * _SUPERSAMPLING)
    ImageDraw.Draw(image).text((left, top - 8 * _SUPERSAMPLING), title, fill=_INK, font=font, anchor="ls")


def _draw_points(draw: ImageDraw.ImageDraw, model: _Model, window: _Window) -> None:
    order = np.argsort(model.points[:, 2])  # from above, the highest hides the others
    radius = 0.8 * _SUPERSAMPLING
    for (x, y), color in zip(window.pixels(model.points[order]), model.colors[order], strict=True):
        red, green, blue = (int(value) for value in color)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(red, green, blue))


def _draw_camera(
    draw: ImageDraw.ImageDraw,
    cam_from_world: Pose,
    truth: SampleTruth,
    window: _Window,
    color: tuple[int, int, int] | None,
) -> None:
    """The field of view as a triangle; without a colour only its outline."""
    depth = 0.05 * window.side
    half_width = depth * truth.intrinsics.width_px / (2.0 * truth.intrinsics.focal_px)
    x_in_cam = np.array([[0.0, 0.0, 0.0], [-half_width, 0.0, depth], [half_width, 0.0, depth]])
    corners = window.pixels((x_in_cam - cam_from_world.translation) @ cam_from_world.rotation)
    outline = [(float(x), float(y)) for x, y in corners]
    draw.polygon(outline, fill=color, outline=color or GREY, width=_SUPERSAMPLING)


def _draw_legend(image: Image.Image, size: tuple[int, int]) -> None:
    text = "Seen from above. Filled triangles: registered photos. Outlines: where the missing photos were taken."
    position = (MARGIN_PX * _SUPERSAMPLING, (size[1] - 10) * _SUPERSAMPLING)
    font = ImageFont.load_default(12 * _SUPERSAMPLING)
    ImageDraw.Draw(image).text(position, text, fill=GREY, font=font, anchor="ls")


def _write_png(path: Path, image: Image.Image) -> None:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    atomic_write_bytes(path, buffer.getvalue())
