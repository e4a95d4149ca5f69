"""Clips that were made elsewhere: video files and folders of frames on disk.

`clip_files` says how files are named, `registration` how their frames are brought into register with the photos.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from interpose_sfm.bridging import GeneratorContext, no_clip
from interpose_sfm.bridging.clip_files import ClipFile, index_clips
from interpose_sfm.bridging.registration import Box, Registration, content_box, register_photo
from interpose_sfm.bridging.video import DecodedClip, UnreadableClipError, read_clip
from interpose_sfm.products import Clip, ClipRequest, ClipStatus, FrameMapping, ImageArray, ImagePair

_log = logging.getLogger(__name__)

# Photos whose aspect ratios agree this well are cropped and scaled alike by a generator.
_SAME_SHAPE = 0.01


class ClipsGenerator:
    """Serves the files of ``BridgingOptions.clip_dir``.

    ``request.index`` is the number of the file among those of the pair. The direction is the file's own, so
    ``request.backwards`` and the seed change nothing; frames always come in A to B order.
    """

    name = "clips"
    requires: ClassVar[Mapping[str, str]] = MappingProxyType({"av": "pip install 'interpose_sfm[video]'"})

    def __init__(self, context: GeneratorContext) -> None:
        """Index the clip folder.

        Raises:
            ValueError: No folder is given or it does not exist, ambiguous file names, or a faulty ``clips.json``.
        """
        if context.clip_dir is None:
            raise ValueError("the generator 'clips' needs a folder with clips: set clip_dir")
        self._context = context
        self._files = index_clips(context.clip_dir, context.photo_names)

    def num_clips(self, pair: ImagePair) -> int:
        """Number of files for the pair, in either direction."""
        return len(self._files.get(ImagePair.sorted(pair.a, pair.b), ()))

    def generate(self, pair: ImagePair, request: ClipRequest) -> Clip:
        """Read a file and register its frames.

        Black borders that all frames share are cut off. Photos of one shape share the mapping of the end that fits
        better: it says how the generator treated both, and what the other end adds to it is a camera that did not
            arrive exactly.

        Returns:
            The clip, or one with status NO_CLIP, UNREADABLE or NOT_REGISTERED and the measured value in its detail.
        """
        files = self._files.get(ImagePair.sorted(pair.a, pair.b), ())
        if not 0 <= request.index < len(files):
            detail = f"the clip folder has {len(files)} clips for this pair"
            return no_clip(pair, self.name, f"clips-{request.index}", ClipStatus.NO_CLIP, detail)
        file = files[request.index]
        options = self._context.options
        try:
            decoded = read_clip(file.path, options.frames_per_clip, options.max_frame_px)
        except UnreadableClipError as error:
            return no_clip(pair, self.name, file.name, ClipStatus.UNREADABLE, str(error))
        return self._registered(pair, file, _in_order(decoded, file.first == pair.a))

    def _registered(self, pair: ImagePair, file: ClipFile, decoded: DecodedClip) -> Clip:
        options = self._context.options
        box = content_box([decoded.first, *decoded.middle, decoded.last])
        photos = [self._context.load_image(name) for name in (pair.a, pair.b)]
        ends = [
            register_photo(photo, box.cut(frame))
            for photo, frame in zip(photos, (decoded.first, decoded.last), strict=True)
        ]
        for name, end in zip((pair.a, pair.b), ends, strict=True):
            if end.correlation < options.min_end_correlation:
                detail = (
                    f"the end for {name} correlates {end.correlation:.2f} with it, limit {options.min_end_correlation}"
                )
                return no_clip(pair, self.name, file.name, ClipStatus.NOT_REGISTERED, detail)
        mappings = [end.frame_from_photo for end in ends]
        detail = f"ends correlate {ends[0].correlation:.3f} and {ends[1].correlation:.3f} with the photos"
        if _same_shape(photos[0], photos[1]):
            drift = _drift(mappings, photos, box)
            detail += f", drift {100 * drift:.2f} % of the width"
            if drift > options.max_end_drift:
                detail += f", limit {100 * options.max_end_drift:.2f} %"
                return no_clip(pair, self.name, file.name, ClipStatus.NOT_REGISTERED, detail)
            mappings = _shared(ends, photos)
        frames = tuple(box.cut(frame) for frame in decoded.middle)
        return Clip(pair, file.name, self.name, frames, mappings[0], mappings[1], ClipStatus.OK, detail)


def _in_order(decoded: DecodedClip, is_forwards: bool) -> DecodedClip:
    return decoded if is_forwards else DecodedClip(decoded.last, decoded.middle[::-1], decoded.first)


def _same_shape(a: ImageArray, b: ImageArray) -> bool:
    return bool(abs(a.shape[1] * b.shape[0] / (a.shape[0] * b.shape[1]) - 1) < _SAME_SHAPE)


def _drift(mappings: list[FrameMapping], photos: list[ImageArray], box: Box) -> float:
    """Largest distance along x or y between where the corners of both photos lie, as a share of the frame's width."""
    corners = [
        np.array([m.offset_px, np.add(m.offset_px, np.multiply(m.scale, photo.shape[1::-1]))])
        for m, photo in zip(mappings, photos, strict=True)
    ]
    return float(np.abs(corners[0] - corners[1]).max()) / box.width_px


def _shared(ends: list[Registration], photos: list[ImageArray]) -> list[FrameMapping]:
    """The better fitting end's mapping for both photos."""
    best = max((0, 1), key=lambda i: ends[i].correlation)
    mapping = ends[best].frame_from_photo
    scales = [np.multiply(mapping.scale, photos[best].shape[1::-1]) / photo.shape[1::-1] for photo in photos]
    return [FrameMapping((float(scale[0]), float(scale[1])), mapping.offset_px) for scale in scales]
