"""Videos as photos: their sharpest frames, spread evenly, in a folder of the output."""

from __future__ import annotations

import itertools
import json
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from interpose_sfm.clips.video import UnreadableClipError, stream_frames
from interpose_sfm.photos.formats import UnusableError
from interpose_sfm.products import ImageArray, SkipReason
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.atomic import atomic_directory, atomic_write_json, remove_path
from interpose_sfm.storage.content_keys import content_key, file_sha256

logger = logging.getLogger(__name__)

_VERSION = 1
_LIST_NAME = "frames.json"
_ANY_SIZE_PX = 1 << 16
_SHARPNESS_PX = 960  # blur of hands and of focus is wider than a pixel of these


@dataclass(frozen=True)
class FrameStore:
    """Frames of videos on disk, those of each as a whole or not at all: a killed run goes on behind the last one.

    Beside the frames of a video lies a list with their digests. Where one is gone or altered all are made again.

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
        pictures = _whole(target)
        if not pictures:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with atomic_directory(target) as new:
                    self._write(path, new)
                    atomic_write_json(new / _LIST_NAME, {frame.name: file_sha256(frame) for frame in new.iterdir()})
            except UnreadableClipError as error:
                raise UnusableError(SkipReason.CORRUPT, str(error)) from error
            pictures = _whole(target)
            logger.info("%s: took %d frames", path, len(pictures))
        return pictures

    def forget_others(self) -> None:
        """Remove frames of videos that were not asked for, and their folder if it holds no others."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name not in self._used:
                    remove_path(path)
            with suppress(OSError):  # not empty
                self.folder.rmdir()

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


def _whole(folder: Path) -> dict[str, Path]:
    """Name -> path of the frames in a folder, in their order; none where they are not those that its list names."""
    try:
        listed = json.loads((folder / _LIST_NAME).read_text())
        found = {path.name: file_sha256(path) for path in folder.iterdir() if path.name != _LIST_NAME}
    except (OSError, ValueError):
        return {}
    return {name: folder / name for name in sorted(found)} if found == listed else {}


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
