"""Videos as photos: their sharpest frames, spread evenly, in a folder of the output."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from interpose_sfm.clips.video import UnreadableClipError, stream_frames
from interpose_sfm.photos.formats import UnusableError
from interpose_sfm.products import ImageArray, SkipReason
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.atomic import atomic_directory, remove_path
from interpose_sfm.storage.content_keys import content_key

logger = logging.getLogger(__name__)

_VERSION = 1
_ANY_SIZE_PX = 1 << 16
_SHARPNESS_PX = 960  # blur of hands and of focus is wider than a pixel of these


@dataclass(frozen=True)
class FrameStore:
    """Frames of videos on disk, those of each as a whole or not at all: a killed run goes on behind the last one.

    Attributes:
        folder: Where they lie; made when the first video comes.
        num_frames_target: So many frames are taken of a video that has as many.
        log: For progress.
    """

    folder: Path
    num_frames_target: int
    log: RunLog
    _used: set[str] = field(default_factory=set)

    def frames_of(self, path: Path) -> dict[str, Path]:
        """Name -> picture of the sharpest frames of a video, one from each of equal parts of it, in their order.

        Names tell the number of the frame, counted from 0. Pictures are JPEG of the video's own size, upright.

        Raises:
            UnusableError: It is no video, damaged or cut off.
        """
        status = path.stat()
        key = content_key(_VERSION, str(path.resolve()), status.st_size, status.st_mtime_ns, self.num_frames_target)
        self._used.add(key)
        target = self.folder / key
        if not target.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with atomic_directory(target) as new:
                    self._write(path, new)
            except UnreadableClipError as error:
                raise UnusableError(SkipReason.CORRUPT, str(error)) from error
            logger.info("%s: took %d frames", path, len(list(target.iterdir())))
        return {picture.name: picture for picture in sorted(target.iterdir())}

    def forget_others(self) -> None:
        """Remove frames of videos that were not asked for."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name not in self._used:
                    remove_path(path)

    def _write(self, path: Path, folder: Path) -> None:
        """Decode twice, to choose and to write: nobody knows beforehand how many frames there are."""
        sharpness = []
        for index, frame in enumerate(stream_frames(path, _SHARPNESS_PX)):
            sharpness.append(_sharpness(frame))
            self.log.tell("frames", index + 1, 0)
        chosen = sharpest(sharpness, self.num_frames_target)
        if not chosen:
            raise UnreadableClipError("no frames")
        frames = enumerate(itertools.islice(stream_frames(path, _ANY_SIZE_PX), chosen[-1] + 1))
        wanted = frozenset(chosen)
        for index, frame in frames:
            if index in wanted:
                Image.fromarray(frame).save(folder / f"frame_{index:06}.jpg", quality=98, subsampling=0)


def sharpest(sharpness: list[float], num_frames: int) -> list[int]:
    """The indices of the sharpest frame of each of so many equal parts; of all frames where there are no more."""
    edges = np.linspace(0, len(sharpness), min(num_frames, len(sharpness)) + 1).round().astype(int)
    return [int(start + np.argmax(sharpness[start:end])) for start, end in itertools.pairwise(edges)]


def _sharpness(frame: ImageArray) -> float:
    """The variance of the Laplacian of the brightness, as is usual."""
    grey = np.asarray(Image.fromarray(frame).convert("L"), np.float32)
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return float(laplacian.var()) if laplacian.size else 0.0
