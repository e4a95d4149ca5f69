"""From a clip on disk to frames in A to B order with the mapping of both photos, whoever made the file.

A clip that was generated here has a record that says where the photos lie (`clips.record`). Where there is none the
frames are brought into register with the photos (`clips.image_alignment`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from interpose_sfm.clips.checks import DEFAULT_LIMITS, ClipMeter, end_correlation, flag_clip, photos_differ
from interpose_sfm.clips.fitting import for_photo_size, is_same_shape, rescaled, shifted, shown_box
from interpose_sfm.clips.image_alignment import Box, Registration, content_box, register_photo
from interpose_sfm.clips.protocol import no_clip
from interpose_sfm.clips.record import ClipRecord
from interpose_sfm.clips.video import DecodedClip, UnreadableClipError, read_clip
from interpose_sfm.options import BridgingOptions, FrameChoice
from interpose_sfm.products import Clip, ClipStatus, FrameMapping, ImageArray, ImagePair
from interpose_sfm.report import told_apart

RELAY_POOL = 3
"""Where frames are chosen by their matches, so many are read for every step of the way: evenly spaced ones are among
them."""


@dataclass(frozen=True)
class ClipReader:
    """Reads clips for one generator.

    Attributes:
        generator: Its name.
        load_image: Photo name -> upright (height, width, 3) uint8 RGB image.
        options: How many frames are kept, how large, and what registration must reach.
    """

    generator: str
    load_image: Callable[[str], ImageArray]
    options: BridgingOptions

    def read(self, pair: ImagePair, path: Path, name: str, is_forwards: bool, record: ClipRecord | None) -> Clip:
        """Read a file.

        Args:
            pair: What it bridges.
            path: The file or folder of frames.
            name: Of the clip.
            is_forwards: True if the file runs from A to B.
            record: What was written when it was made; None where there is nothing.

        Returns:
            The clip, or one with status UNREADABLE or NOT_REGISTERED and the reason in its detail. What the checks find
            wrong is flagged, and refuses nothing.
        """
        meter = ClipMeter()
        try:
            decoded = read_clip(path, self._num_frames, self.options.max_frame_px, meter.add)
        except UnreadableClipError as error:
            return no_clip(pair, self.generator, name, ClipStatus.UNREADABLE, str(error))
        if not is_forwards:
            decoded = DecodedClip(decoded.last, decoded.middle[::-1], decoded.first)
        photos = self.load_image(pair.a), self.load_image(pair.b)
        recorded = None if record is None else _recorded(record, is_forwards, decoded, photos)
        if recorded is None:
            clip, correlations = self._registered(pair, name, decoded, photos)
        else:
            mappings, box = recorded
            frames = tuple(box.cut(frame) for frame in decoded.middle)
            detail = "photos lie where they were put when the clip was made"
            clip = Clip(pair, name, self.generator, frames, mappings[0], mappings[1], ClipStatus.OK, detail)
            ends = zip(photos, (decoded.first, decoded.last), strict=True)
            correlations = [end_correlation(photo, frame) for photo, frame in ends]
        measures, asked = meter.measures(), None
        if record is not None and len(measures.sizes_px) == 1:
            # The frames may have been scaled down since.
            measures = replace(measures, sizes_px=((record.got.width_px, record.got.height_px),))
            asked = record.asked
        first, last = correlations if is_forwards else correlations[::-1]
        limits = replace(DEFAULT_LIMITS, min_end_correlation=self.options.min_end_correlation)
        report = flag_clip(
            measures,
            asked=asked,
            end_correlations=(first, last),
            photos_differ=photos_differ(*photos),
            limits=limits,
        )
        return replace(clip, flags=report.flags)

    @property
    def _num_frames(self) -> int:
        """Frames that are read; of more than are kept, the best can be chosen when their matches are known."""
        wanted = self.options.frames_per_clip
        return RELAY_POOL * (wanted + 1) - 1 if self.options.frame_choice is FrameChoice.RELAY else wanted

    def _registered(
        self, pair: ImagePair, name: str, decoded: DecodedClip, photos: tuple[ImageArray, ImageArray]
    ) -> tuple[Clip, list[float]]:
        """Measure where the photos lie; the clip, and how well each end shows its photo.

        Black borders that all frames share are cut off. Photos of one shape share the mapping of the end that fits
        better: it says how the generator treated both, and what the other end adds to it is a camera that did not
        arrive exactly.
        """
        box = content_box([decoded.first, *decoded.middle, decoded.last])
        ends = _register(photos, (decoded.first, decoded.last), box)
        correlations = [end.correlation for end in ends]
        problem = self._problem(pair, ends, photos, box)
        if problem:
            if not self._problem(pair, _register(photos, (decoded.last, decoded.first), box), photos, box):
                problem += f"; {_how_to_turn(pair, name)}"
            return no_clip(pair, self.generator, name, ClipStatus.NOT_REGISTERED, problem), correlations
        mappings = [end.frame_from_photo for end in ends]
        detail = _correlated(ends)
        if is_same_shape(_size(photos[0]), _size(photos[1])):
            detail += f", drift {100 * _drift(mappings, photos, box):.2f} % of the width"
            mappings = _shared(ends, photos)
        frames = tuple(box.cut(frame) for frame in decoded.middle)
        clip = Clip(pair, name, self.generator, frames, mappings[0], mappings[1], ClipStatus.OK, detail)
        return clip, correlations

    def _problem(
        self, pair: ImagePair, ends: list[Registration], photos: tuple[ImageArray, ImageArray], box: Box
    ) -> str:
        """Why the ends of a clip do not show A and B as it takes; empty if they do."""
        options = self.options
        for photo, end in zip((pair.a, pair.b), ends, strict=True):
            if end.correlation < options.min_end_correlation:
                told, least = told_apart(end.correlation, options.min_end_correlation, ".2f")
                return f"the end for {photo} correlates {told} with it, limit {least}"
        if not is_same_shape(_size(photos[0]), _size(photos[1])):
            return ""
        drift = _drift([end.frame_from_photo for end in ends], photos, box)
        if drift <= options.max_end_drift:
            return ""
        told, most = told_apart(100 * drift, 100 * options.max_end_drift, ".2f")
        return f"{_correlated(ends)}, drift {told} % of the width, limit {most} %"


def _register(
    photos: tuple[ImageArray, ImageArray], frames: tuple[ImageArray, ImageArray], box: Box
) -> list[Registration]:
    """Where each photo lies in its frame, cut to the box."""
    return [register_photo(photo, box.cut(frame)) for photo, frame in zip(photos, frames, strict=True)]


def _correlated(ends: list[Registration]) -> str:
    return f"ends correlate {ends[0].correlation:.3f} and {ends[1].correlation:.3f} with the photos"


def _how_to_turn(pair: ImagePair, name: str) -> str:
    """What to do with a clip that runs the other way than its name says."""
    path = PurePosixPath(name)
    stem = path.stem.removesuffix("_ba") if path.stem.endswith("_ba") else f"{path.stem}_ba"
    return (
        f"its ends show {pair.a} and {pair.b} the other way round: rename it to {stem}{path.suffix}, or, if clips.json "
        'lists it, change its "backwards" there'
    )


def _recorded(
    record: ClipRecord, is_forwards: bool, decoded: DecodedClip, photos: tuple[ImageArray, ImageArray]
) -> tuple[tuple[FrameMapping, FrameMapping], Box] | None:
    """Where A and B lie in frames cut to what shows them, and the cut; None where the record does not tell."""
    ends = record.ends if is_forwards else record.ends[::-1]
    size_px = _size(decoded.first)
    mappings = []
    for end, photo in zip(ends, photos, strict=True):
        mapping = end.frame_from_photo
        if mapping is not None:
            mapping = rescaled(mapping, (record.got.width_px, record.got.height_px), size_px)
        if mapping is not None:
            mapping = for_photo_size(mapping, (end.width_px, end.height_px), _size(photo))
        if mapping is None:
            return None
        mappings.append(mapping)
    box = shown_box(tuple(mappings), (_size(photos[0]), _size(photos[1])), size_px)
    if min(box.width_px, box.height_px) < 1:
        return None
    return (shifted(mappings[0], box), shifted(mappings[1], box)), box


def _size(image: ImageArray) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _drift(mappings: list[FrameMapping], photos: tuple[ImageArray, ImageArray], box: Box) -> float:
    """Largest distance along x or y between where the corners of both photos lie, as a share of the frame's width."""
    corners = [
        np.array([m.offset_px, np.add(m.offset_px, np.multiply(m.scale, photo.shape[1::-1]))])
        for m, photo in zip(mappings, photos, strict=True)
    ]
    return float(np.abs(corners[0] - corners[1]).max()) / box.width_px


def _shared(ends: list[Registration], photos: tuple[ImageArray, ImageArray]) -> list[FrameMapping]:
    """The better fitting end's mapping for both photos."""
    best = max((0, 1), key=lambda i: ends[i].correlation)
    mapping = ends[best].frame_from_photo
    scales = [np.multiply(mapping.scale, photos[best].shape[1::-1]) / photo.shape[1::-1] for photo in photos]
    return [FrameMapping((float(scale[0]), float(scale[1])), mapping.offset_px) for scale in scales]
