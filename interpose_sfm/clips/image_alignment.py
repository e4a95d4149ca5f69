"""Where a photo lies in a frame of a generated clip.

Video models crop, scale (sometimes by different factors along x and y) and letterbox what they are given, so a frame is
used only after the mapping ``x_frame = scale * x_photo + offset_px`` was measured against the photo it should show. The
search needs no features and no initial guess:

1. masked normalised cross-correlation (Padfield, "Masked object registration in the Fourier domain", IEEE TIP 2012)
   over all offsets and a grid of scales and aspect changes, at low resolution;
2. Gauss-Newton on the four parameters, coarse to fine (Lucas & Kanade 1981), with a gain and an offset of
   brightness, and with Tukey weights at the end, so that neither a changed exposure nor something that moved drags it.

Both work on band-passed brightness, because models shift exposure and colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interpose_sfm.products import FloatArray, FrameMapping, ImageArray

GrayArray = NDArray[np.float32]
Spectra = tuple[NDArray[np.complexfloating], NDArray[np.complexfloating], NDArray[np.complexfloating]]

_COARSE_PX = 64
_LEVELS_PX = (160, 320, 640)
_SCORE_PX = 320
_WORKING_PX = 1280
_NUM_CANDIDATES = 4
_MAX_STEPS = 12
_STILL_PX = 0.01
_ROBUST_COST = 0.02
_SCALE_STEP = 1.08
_ASPECTS = (0.86, 0.93, 1.0, 1.075, 1.16)
# A generator that keeps less than this of a photo, or shows mostly something else, is of no use. Less overlap also lets
# wrong photos fit: a strip of sky or lawn correlates with any other.
_MIN_SHARE_OF_PHOTO = 0.3
_MIN_SHARE_OF_FRAME = 0.6
# Compressed black reaches some ten levels; content of a photo that stays below this in all frames is no loss.
_BLACK_LEVEL = 24


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels: columns ``left <= x < right``, rows ``top <= y < bottom``."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width_px(self) -> int:
        """Number of columns."""
        return self.right - self.left

    @property
    def height_px(self) -> int:
        """Number of rows."""
        return self.bottom - self.top

    def cut(self, image: ImageArray) -> ImageArray:
        """The part of an image inside the box, (height, width, 3)."""
        return np.ascontiguousarray(image[self.top : self.bottom, self.left : self.right])


@dataclass(frozen=True)
class Registration:
    """How a photo lies in a frame, and how well that explains the frame.

    Attributes:
        frame_from_photo: The mapping, in pixels of the full photo and of the frame as handed in.
        correlation: Correlation coefficient of the band-passed brightness of both over their overlap, at 320 px; 1 is
            perfect, -1 where no overlap large enough was found.
    """

    frame_from_photo: FrameMapping
    correlation: float


def content_box(frames: Sequence[ImageArray]) -> Box:
    """The rectangle inside the black borders that all frames share.

    A row or column belongs to a border if it is black in every frame: a dark photo fades in somewhere, a letterbox does
    not.

    Args:
        frames: Frames of equal size, (height, width, 3) uint8.

    Returns:
        The content; the whole frame where cutting would leave less than a quarter of a side.
    """
    height, width = frames[0].shape[:2]
    rows = np.zeros(height)
    columns = np.zeros(width)
    for frame in frames:
        brightness = frame.max(axis=2)
        # The 98th percentile lets single bright pixels of compression noise pass.
        rows = np.maximum(rows, np.percentile(brightness, 98, axis=1))
        columns = np.maximum(columns, np.percentile(brightness, 98, axis=0))
    bright_rows, bright_columns = np.flatnonzero(rows > _BLACK_LEVEL), np.flatnonzero(columns > _BLACK_LEVEL)
    if bright_rows.size < height / 4 or bright_columns.size < width / 4:
        return Box(0, 0, width, height)
    return Box(int(bright_columns[0]), int(bright_rows[0]), int(bright_columns[-1]) + 1, int(bright_rows[-1]) + 1)


def register_photo(photo: ImageArray, frame: ImageArray) -> Registration:
    """Find the mapping that puts a photo into a frame without black borders.

    Args:
        photo: (height, width, 3) uint8 RGB, the whole photo.
        frame: (height, width, 3) uint8 RGB, cut to its `content_box`.

    Returns:
        The best mapping found and its correlation; the caller decides what is good enough.
    """
    photo_gray, frame_gray = _working_copy(photo), _gray(frame)
    best, best_correlation = None, -1.0
    for candidate in _coarse_search(photo_gray, frame_gray):
        refined, correlation = _refine(photo_gray, frame_gray, candidate, _LEVELS_PX[0])
        if correlation > best_correlation:
            best, best_correlation = refined, correlation
    if best is None:
        return Registration(FrameMapping((1.0, 1.0), (0.0, 0.0)), -1.0)
    for level_px in _LEVELS_PX[1:]:
        best, _ = _refine(photo_gray, frame_gray, best, level_px)
    best, _ = _refine(photo_gray, frame_gray, best, _LEVELS_PX[-1], is_robust=True)
    warped, target, inside, _ = _at_level(photo_gray, frame_gray, best, _SCORE_PX)
    scale = (
        float(best[0]) * photo_gray.shape[1] / photo.shape[1],
        float(best[1]) * photo_gray.shape[0] / photo.shape[0],
    )
    mapping = FrameMapping(scale, (float(best[2]), float(best[3])))
    return Registration(mapping, _correlation(warped, target, inside))


# ---------------------------------------------------------------- images at one resolution


def _gray(image: ImageArray) -> GrayArray:
    import cv2

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), np.float32)


def _working_copy(photo: ImageArray) -> GrayArray:
    """A photo at a resolution at which the search is quick and nothing is lost."""
    gray = _gray(photo)
    shrink = _WORKING_PX / max(gray.shape)
    if shrink >= 1.0:
        return gray
    return _resized(gray, (max(1, round(gray.shape[1] * shrink)), max(1, round(gray.shape[0] * shrink))))


def _band_pass(gray: GrayArray, level_px: int, inside: NDArray[np.bool_] | None = None) -> GrayArray:
    """Brightness without noise and without what varies slowly; nothing outside the mask has an influence inside."""
    import cv2

    mask = np.ones_like(gray) if inside is None else inside.astype(np.float32)
    bands = []
    for sigma in (0.8, level_px / 20):
        share = cv2.GaussianBlur(mask, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        total = cv2.GaussianBlur(gray * mask, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        bands.append(total / np.maximum(share, 1e-3))
    return np.asarray(bands[0] - bands[1], np.float32)


def _resized(gray: GrayArray, size_px: tuple[int, int]) -> GrayArray:
    import cv2

    shrinks = size_px[0] < gray.shape[1]
    return np.asarray(
        cv2.resize(gray, size_px, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.float32
    )


def _at_level(
    photo: GrayArray, frame: GrayArray, params: FloatArray, level_px: int
) -> tuple[GrayArray, GrayArray, NDArray[np.bool_], float]:
    """Photo warped into the frame, the frame, where both are valid, and level pixels per frame pixel."""
    import cv2

    level = min(1.0, level_px / max(frame.shape))
    width, height = (max(8, round(side * level)) for side in (frame.shape[1], frame.shape[0]))
    level_xy = np.array([width / frame.shape[1], height / frame.shape[0]])
    target = _resized(frame, (width, height))
    # Bring the photo to the level's resolution first, so that the warp below hardly scales and does not alias.
    scale_xy = params[:2] * level_xy
    photo_size = tuple(max(4, round(side * float(s))) for side, s in zip(photo.shape[::-1], scale_xy, strict=True))
    small = _resized(photo, (photo_size[0], photo_size[1]))
    x_scale = scale_xy[0] * photo.shape[1] / small.shape[1]
    y_scale = scale_xy[1] * photo.shape[0] / small.shape[0]
    x_offset, y_offset = params[2:] * level_xy
    # cv2 counts from pixel centres: x_cv = x - 0.5 on both sides.
    matrix = np.array(
        [[x_scale, 0, x_offset + 0.5 * x_scale - 0.5], [0, y_scale, y_offset + 0.5 * y_scale - 0.5]], np.float64
    )
    size = (width, height)
    warped = np.asarray(cv2.warpAffine(small, matrix, size, flags=cv2.INTER_LINEAR), np.float32)
    inside = np.asarray(cv2.warpAffine(np.ones_like(small), matrix, size, flags=cv2.INTER_LINEAR) > 0.999)
    # Both are filtered under one mask: what was cropped off must not show in one of them only.
    return _band_pass(warped, level_px, inside), _band_pass(target, level_px, inside), inside, level


def _correlation(x: GrayArray, y: GrayArray, inside: NDArray[np.bool_]) -> float:
    """Of two images within a mask, in [-1, 1]; -1 where the mask is too small or an image is flat there."""
    if inside.mean() < _MIN_SHARE_OF_FRAME * 0.9:
        return -1.0
    u, v = x[inside].astype(np.float64), y[inside].astype(np.float64)
    u -= u.mean()
    v -= v.mean()
    norm = math.sqrt(float(u @ u) * float(v @ v))
    return float(u @ v) / norm if norm > 0 else -1.0


# ---------------------------------------------------------------- search


def _coarse_search(photo: GrayArray, frame: GrayArray) -> list[FloatArray]:
    """The most promising (scale x, scale y, offset x, offset y), best first."""
    level = _COARSE_PX / max(frame.shape)
    small_frame = _resized(frame, (max(8, round(frame.shape[1] * level)), max(8, round(frame.shape[0] * level))))
    target = _band_pass(small_frame, _COARSE_PX)
    contain = min(target.shape[0] / photo.shape[0], target.shape[1] / photo.shape[1])
    cover = max(target.shape[0] / photo.shape[0], target.shape[1] / photo.shape[1])
    stretch = (target.shape[1] / photo.shape[1]) / (target.shape[0] / photo.shape[0])
    steps = math.ceil(math.log(1.5 * cover / (0.65 * contain)) / math.log(_SCALE_STEP))
    scales = [0.65 * contain * _SCALE_STEP**i for i in range(steps + 1)]
    candidates: list[tuple[float, FloatArray]] = []
    spectra: dict[tuple[int, int], Spectra] = {}
    for aspect in sorted({*_ASPECTS, stretch}):
        for scale in scales:
            x_scale, y_scale = scale * math.sqrt(aspect), scale / math.sqrt(aspect)
            size = (max(8, round(photo.shape[1] * x_scale)), max(8, round(photo.shape[0] * y_scale)))
            small = _band_pass(_resized(photo, size), _COARSE_PX)
            correlation, offset = _best_offset(small, target, spectra)
            x_true, y_true = size[0] / photo.shape[1], size[1] / photo.shape[0]
            candidates.append((correlation, np.array([x_true, y_true, *offset]) / level))
    candidates.sort(key=lambda item: -item[0])
    return [params for correlation, params in candidates[:_NUM_CANDIDATES] if correlation > 0]


def _best_offset(
    photo: GrayArray, frame: GrayArray, spectra: dict[tuple[int, int], Spectra]
) -> tuple[float, tuple[int, int]]:
    """Highest masked normalised cross-correlation over all whole-pixel offsets, and that offset (x, y).

    ``spectra`` keeps what depends on the frame alone, by size of the transform.
    """
    rfft2, irfft2 = np.fft.rfft2, np.fft.irfft2
    # Room for every overlap without wrapping around, at sizes that the FFT likes.
    shape = (
        32 * math.ceil((photo.shape[0] + frame.shape[0]) / 32),
        32 * math.ceil((photo.shape[1] + frame.shape[1]) / 32),
    )
    photo_f, photo2_f, ones_p = (rfft2(z, shape).conj() for z in (photo, photo**2, np.ones_like(photo)))
    if shape not in spectra:
        spectra[shape] = (rfft2(frame, shape), rfft2(frame**2, shape), rfft2(np.ones_like(frame), shape))
    frame_f, frame2_f, ones_f = spectra[shape]
    count = np.maximum(np.round(irfft2(ones_f * ones_p, shape)), 1.0)
    sum_p, sum_f = irfft2(ones_f * photo_f, shape), irfft2(frame_f * ones_p, shape)
    cross = irfft2(frame_f * photo_f, shape) - sum_p * sum_f / count
    var_p = irfft2(ones_f * photo2_f, shape) - sum_p**2 / count
    var_f = irfft2(frame2_f * ones_p, shape) - sum_f**2 / count
    enough = (count > _MIN_SHARE_OF_PHOTO * photo.size) & (count > _MIN_SHARE_OF_FRAME * frame.size)
    valid = enough & (var_p > 1e-3 * count) & (var_f > 1e-3 * count)
    score = np.where(valid, cross / np.sqrt(np.maximum(var_p * var_f, 1e-12)), -1.0)
    y, x = np.unravel_index(int(score.argmax()), score.shape)
    # Circular correlation: offsets above the frame's size are negative ones.
    x_offset = int(x) if x < frame.shape[1] else int(x) - shape[1]
    y_offset = int(y) if y < frame.shape[0] else int(y) - shape[0]
    return float(score[y, x]), (x_offset, y_offset)


def _refine(
    photo: GrayArray, frame: GrayArray, params: FloatArray, level_px: int, is_robust: bool = False
) -> tuple[FloatArray, float]:
    """Gauss-Newton on (scale x, scale y, offset x, offset y) at one resolution, with the correlation reached.

    Plain steps are taken while they raise the correlation. Robust ones answer another question, so they run until they
    stand still, and may cost a little correlation but not more.
    """
    best, best_correlation = params, -1.0
    for _ in range(_MAX_STEPS):
        warped, target, inside, level = _at_level(photo, frame, params, level_px)
        correlation = _correlation(warped, target, inside)
        gain_wanted = -_ROBUST_COST if is_robust else 1e-5
        if correlation <= best_correlation + gain_wanted:
            break
        best, best_correlation = params, correlation if not is_robust else max(correlation, best_correlation)
        step = _step(warped, target, inside, is_robust)
        if step is None:
            break
        params = _stepped(params, step, np.array([warped.shape[1], warped.shape[0]]), level)
        if not (0.5 < params[0] / best[0] < 2 and 0.5 < params[1] / best[1] < 2):
            break
        if np.abs(step[1::2]).max() + np.abs(step[::2]).max() * level_px / 2 < _STILL_PX:
            break
    return best, best_correlation


def _stepped(params: FloatArray, step: FloatArray, size_px: FloatArray, level: float) -> FloatArray:
    """Mapping after a small motion of the warped photo in level pixels: x -> x + growth * (x - middle) + shift."""
    growth, shift = step[::2], step[1::2]
    scale, offset = params[:2], params[2:]
    return np.concatenate([scale * (1 + growth), offset + growth * (offset - size_px / 2 / level) + shift / level])


def _step(warped: GrayArray, target: GrayArray, inside: NDArray[np.bool_], is_robust: bool) -> FloatArray | None:
    """(growth x, shift x, growth y, shift y) that bring the warped photo closer to the frame; None if undetermined."""
    gy, gx = np.gradient(warped)
    height, width = warped.shape
    x = np.arange(width) + 0.5 - width / 2
    y = (np.arange(height) + 0.5 - height / 2)[:, None]
    # frame ~ gain * photo(x - motion) + bias, linear in gain, bias and gain * motion.
    columns = [warped, np.ones_like(warped), -gx * x, -gx, -gy * y, -gy]
    design = np.stack([column[inside] for column in columns], axis=1).astype(np.float64)
    grey_levels = target[inside].astype(np.float64)
    weights = np.ones(len(grey_levels))
    solution: FloatArray = np.zeros(6)
    for _ in range(3 if is_robust else 1):
        weighted = design * weights[:, None]
        normal = weighted.T @ design
        if np.linalg.cond(normal) > 1e12:
            return None
        solution = np.asarray(np.linalg.solve(normal, weighted.T @ grey_levels), np.float64)
        residual = np.abs(design @ solution - grey_levels)
        # Tukey's biweight at 95 % efficiency.
        limit = 4.685 * max(float(np.median(residual)) * 1.4826, 1e-6)
        weights = np.clip(1.0 - (residual / limit) ** 2, 0.0, None) ** 2
    if solution[0] < 0.05:
        return None
    return np.asarray(solution[2:] / solution[0], np.float64)
