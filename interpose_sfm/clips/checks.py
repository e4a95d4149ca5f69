"""What can be seen of a clip before any pose is estimated: its size and length, that something moves, cuts and fades.

Frames are looked at one by one, as small grey pictures, and none is kept longer than a few frames, so a clip of any
length takes the memory of a handful of thumbnails.

Cuts
    Two pictures a few frames apart are compared by their blocks. Each block looks for itself nearby in the other
    picture, and what it finds is measured by the normalised cross-correlation (Lewis 1995), so that motion, parallax
    and changes of brightness cost little. Where too little is found again something was cut. Fast motion loses blocks
    as well, so a cut must also stand out from what the same clip loses elsewhere; that it is steady is what tells a
    quick pan at a low frame rate from a cut. Pictures two steps apart are compared rather than neighbours, because
    video models like to put one mixed frame into their cuts.

Cross-fades
    In a slow fade neighbours stay alike. But the picture in the middle is a weighted sum of the two at the ends, pixel
    by pixel, and these two do not show the same. Under motion the one or the other does not hold.

Frames that repeat the one before them (a clip brought to a higher frame rate) are passed over.

``pipelines/clip_checks.py`` measures the limits on 240 videos of three models and writes
``docs/results/clip_checks.md``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from interpose_sfm.clips.image_alignment import content_box, register_photo
from interpose_sfm.clips.thumbnails import Picture, blend_residual, thumbnail, unlikeness
from interpose_sfm.clips.video import MIN_CLIP_FRAMES, stream_frames
from interpose_sfm.products import ClipFlag, ClipFormat, ClipProblem, ImageArray

_MAX_FRAME_PX = 4096
_CUT_STEPS = 2
_FADE_STEPS = (4, 8)
# Pictures around a cut whose motion counts as that of the clip there.
_NEIGHBOURHOOD = 8
# A clip that stands still has no motion of its own; block matching of repeated frames comes to some 0.002.
_LEAST_MOTION = 0.01
_NOTEWORTHY_RESIDUAL = 0.4


@dataclass(frozen=True, kw_only=True)
class ClipLimits:
    """From where on a clip is flagged; ``docs/results/clip_checks.md`` shows how far each may be moved.

    Attributes:
        min_pictures: A clip with fewer different pictures is frozen, unless it has no more frames: A, B and the three
            frames between them that the paper gives to a pose estimator.
        min_end_correlation: As in `BridgingOptions`.
        min_unlike: Pictures must be so unlike to lie on two sides of a cut or a fade, see `Step`.
        min_outstanding: By how many times a cut exceeds the motion of its clip.
        max_fade_residual: Share of the variance of a picture that a fade leaves unexplained at most.
    """

    min_pictures: int = 5
    min_end_correlation: float = 0.8
    min_unlike: float = 0.2
    min_outstanding: float = 3.5
    max_fade_residual: float = 0.1


DEFAULT_LIMITS = ClipLimits()


@dataclass(frozen=True)
class Step:
    """Two pictures of a clip, compared.

    Attributes:
        first, last: Their frames.
        unlike: One minus the mean correlation of blocks with the best place nearby; 0 for the same picture, some 0.45
            for two that have nothing in common.
    """

    first: int
    last: int
    unlike: float


@dataclass(frozen=True)
class Fade:
    """A picture that is about the weighted sum of one before and one after it.

    Attributes:
        step: The two.
        residual: Share of the variance of the one between them that the sum does not explain.
    """

    step: Step
    residual: float


@dataclass(frozen=True)
class ClipMeasures:
    """What was measured of a clip, without any limit.

    Attributes:
        num_frames: How many there are.
        sizes_px: Every (width, height) that occurs, in order of appearance.
        num_pictures: Frames that do not repeat the one before them.
        steps: Comparisons of pictures two apart (of all where there are fewer than three).
        fades: Candidates, see `Fade`.
    """

    num_frames: int
    sizes_px: tuple[tuple[int, int], ...]
    num_pictures: int
    steps: tuple[Step, ...]
    fades: tuple[Fade, ...]

    @cached_property
    def outstanding(self) -> tuple[float, ...]:
        """By how many times each step exceeds the motion of the clip, on the whole and around it, whichever is more."""
        unlike = np.array([step.unlike for step in self.steps])
        whole = float(np.median(unlike)) if len(unlike) else 0.0
        ratios = []
        for index, value in enumerate(unlike):
            low, high = max(0, index - _NEIGHBOURHOOD), index + _NEIGHBOURHOOD + 1
            around = [*unlike[low : max(0, index - _CUT_STEPS)], *unlike[index + _CUT_STEPS + 1 : high]]
            motion = max(whole, float(np.median(around)) if around else 0.0, _LEAST_MOTION)
            ratios.append(float(value) / motion)
        return tuple(ratios)


@dataclass(frozen=True)
class ClipReport:
    """What a clip was measured to be, and what is wrong with it.

    Attributes:
        measures: The figures.
        flags: Empty if nothing is.
    """

    measures: ClipMeasures
    flags: tuple[ClipFlag, ...]

    @property
    def problems(self) -> frozenset[ClipProblem]:
        """What is wrong."""
        return frozenset(flag.problem for flag in self.flags)


class ClipMeter:
    """Measures a clip whose frames pass by one at a time."""

    def __init__(self) -> None:
        self._num_frames = 0
        self._sizes_px: dict[tuple[int, int], None] = {}
        self._pictures: deque[Picture] = deque(maxlen=max(_FADE_STEPS) + 1)
        self._num_pictures = 0
        self._steps: list[Step] = []
        self._fades: list[Fade] = []

    def add(self, frame: ImageArray) -> None:
        """Look at the next frame, (height, width, 3) uint8 RGB; it is not kept."""
        index = self._num_frames
        self._num_frames += 1
        size_px = frame.shape[1], frame.shape[0]
        if size_px not in self._sizes_px and self._sizes_px:
            # Pictures of another size are not compared with those before.
            self._pictures.clear()
        self._sizes_px[size_px] = None
        picture = Picture(index, thumbnail(frame))
        if self._pictures and picture.repeats(self._pictures[-1]):
            return
        if self._pictures and picture.gray.shape != self._pictures[-1].gray.shape:
            self._pictures.clear()
        self._pictures.append(picture)
        self._num_pictures += 1
        if len(self._pictures) > _CUT_STEPS:
            self._steps.append(_step(self._pictures[-1 - _CUT_STEPS], picture))
        for steps in _FADE_STEPS:
            if len(self._pictures) > steps:
                self._look_for_fade(*(self._pictures[-1 - back] for back in (steps, steps // 2, 0)))

    def measures(self) -> ClipMeasures:
        """What was measured so far."""
        steps = self._steps
        if not steps and len(self._pictures) > 1:
            steps = [_step(self._pictures[0], self._pictures[-1])]
        return ClipMeasures(
            self._num_frames, tuple(self._sizes_px), self._num_pictures, tuple(steps), tuple(self._fades)
        )

    def _look_for_fade(self, first: Picture, middle: Picture, last: Picture) -> None:
        """Keep three pictures of which the middle one may be a sum of the others."""
        residual = blend_residual(first.detail, middle.detail, last.detail)
        if residual < _NOTEWORTHY_RESIDUAL:
            self._fades.append(Fade(_step(first, last), residual))


def end_correlation(photo: ImageArray, frame: ImageArray) -> float:
    """How well a frame at the end of a clip shows the photo, wherever that lies in it; black borders do not matter.

    Args:
        photo, frame: (height, width, 3) uint8 RGB.

    Returns:
        See `Registration.correlation`.
    """
    return register_photo(photo, content_box([frame]).cut(frame)).correlation


def flag_clip(
    measures: ClipMeasures,
    *,
    asked: ClipFormat | None = None,
    end_correlations: tuple[float, float] | None = None,
    photos_differ: bool = True,
    limits: ClipLimits = DEFAULT_LIMITS,
) -> ClipReport:
    """Compare what was measured with what was asked for and with the limits.

    Args:
        measures: Of the clip.
        asked: What the model was asked for; None where that is not known.
        end_correlations: How well the first and the last frame show their photos, see `end_correlation`; None where
            nobody looked.
        photos_differ: False if the photos show the same view, between which nothing has to move.
        limits: From where on something is flagged.
    """
    flags = [*_format_flags(measures, asked)]
    least = min(limits.min_pictures, max(measures.num_frames, MIN_CLIP_FRAMES))
    if photos_differ and measures.num_pictures < least:
        detail = f"{measures.num_pictures} different pictures in {measures.num_frames} frames"
        flags.append(ClipFlag(ClipProblem.FROZEN, measures.num_pictures, least, detail))
    ends = zip((ClipProblem.WRONG_FIRST, ClipProblem.WRONG_LAST), end_correlations or (), strict=False)
    for problem, correlation in ends:
        if correlation < limits.min_end_correlation:
            detail = f"correlates {correlation:.2f} with its photo"
            flags.append(ClipFlag(problem, correlation, limits.min_end_correlation, detail))
    cut = _cut_flag(measures, limits) or _fade_flag(measures, limits)
    return ClipReport(measures, (*flags, cut) if cut else tuple(flags))


def check_frames(
    clip: Iterable[ImageArray] | Path,
    *,
    photos: tuple[ImageArray, ImageArray] | None = None,
    asked: ClipFormat | None = None,
    limits: ClipLimits = DEFAULT_LIMITS,
) -> ClipReport:
    """Measure and check a clip in one go.

    Args:
        clip: Frames, each (height, width, 3) uint8 RGB, or a video file or a folder of frames.
        photos: What its first and its last frame should show; None leaves that and whether they differ out.
        asked: What the model was asked for; None where that is not known.
        limits: From where on something is flagged.

    Raises:
        UnreadableClipError: The file cannot be decoded.
    """
    meter, first, last = ClipMeter(), None, None
    for frame in stream_frames(clip, _MAX_FRAME_PX) if isinstance(clip, Path) else clip:
        first = frame if first is None else first
        last = frame
        meter.add(frame)
    correlations = None
    if photos is not None and first is not None and last is not None:
        correlations = end_correlation(photos[0], first), end_correlation(photos[1], last)
    differ = photos is None or photos_differ(*photos)
    return flag_clip(meter.measures(), asked=asked, end_correlations=correlations, photos_differ=differ, limits=limits)


def photos_differ(a: ImageArray, b: ImageArray) -> bool:
    """Whether something has to move between two photos, (height, width, 3) uint8 RGB each."""
    return not Picture(1, thumbnail(b)).repeats(Picture(0, thumbnail(a)))


# ---------------------------------------------------------------- flags


def _format_flags(measures: ClipMeasures, asked: ClipFormat | None) -> Iterable[ClipFlag]:
    """What differs from the size and the length that were asked for."""
    if len(measures.sizes_px) > 1:
        detail = f"frames of {', '.join(f'{w}x{h}' for w, h in measures.sizes_px)} px in one clip"
        yield ClipFlag(ClipProblem.WRONG_SIZE, len(measures.sizes_px), 1, detail)
    if asked is None:
        return
    if measures.num_frames != asked.num_frames:
        detail = f"{measures.num_frames} frames, asked for {asked.num_frames}"
        yield ClipFlag(ClipProblem.WRONG_LENGTH, measures.num_frames, asked.num_frames, detail)
    asked_px = asked.width_px, asked.height_px
    if len(measures.sizes_px) == 1 and measures.sizes_px[0] != asked_px:
        (width_px, height_px) = measures.sizes_px[0]
        detail = f"frames of {width_px}x{height_px} px, asked for {asked_px[0]}x{asked_px[1]}"
        yield ClipFlag(ClipProblem.WRONG_SIZE, width_px * height_px, asked_px[0] * asked_px[1], detail)


def _cut_flag(measures: ClipMeasures, limits: ClipLimits) -> ClipFlag | None:
    """The most outstanding cut, if there is one."""
    cuts = [
        (ratio, step)
        for ratio, step in zip(measures.outstanding, measures.steps, strict=True)
        if step.unlike >= limits.min_unlike and ratio >= limits.min_outstanding
    ]
    if not cuts:
        return None
    ratio, step = max(cuts, key=lambda item: item[0])
    detail = (
        f"between the frames {step.first} and {step.last} {step.unlike:.2f} of the picture is lost, {ratio:.1f} times "
        "what the clip loses by its motion"
    )
    return ClipFlag(ClipProblem.HARD_CUT, ratio, limits.min_outstanding, detail)


def _fade_flag(measures: ClipMeasures, limits: ClipLimits) -> ClipFlag | None:
    """The fade between the most unlike pictures, if there is one."""
    fades = [fade for fade in measures.fades if fade.residual <= limits.max_fade_residual]
    worst = max(fades, key=lambda fade: fade.step.unlike, default=None)
    if worst is None or worst.step.unlike < limits.min_unlike:
        return None
    detail = (
        f"the picture between the frames {worst.step.first} and {worst.step.last} is {1 - worst.residual:.0%} their "
        f"sum, and {worst.step.unlike:.2f} of one is not in the other"
    )
    return ClipFlag(ClipProblem.CROSS_FADE, worst.step.unlike, limits.min_unlike, detail)


def _step(first: Picture, last: Picture) -> Step:
    return Step(first.index, last.index, unlikeness(first, last))


def describe_flags(flags: Sequence[ClipFlag]) -> str:
    """One sentence for a report; empty without flags."""
    return "; ".join(f"{flag.problem.value}: {flag.detail}" for flag in flags)
