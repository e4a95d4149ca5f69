"""Whether the files of a COLMAP model are whole, before COLMAP reads them: it believes every count that they hold.

The layout is that of COLMAP's ``reconstruction_io_binary.cc`` since rigs and frames are in it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any

_POSE_BYTES = 7 * 8
_MAX_NAME_BYTES = 4096


def check_model(folder: Path, *, has_frames: bool = True) -> None:
    """Walk through the files of a model; takes no more memory than its cameras and images have numbers.

    Args:
        folder: Holds them.
        has_frames: False for a model of COLMAP before 3.12, which wrote neither rigs nor frames.

    Raises:
        ValueError: A file is missing, ends before or after what it announces, or names what no other file holds; the
            message begins with its name.
        OSError: It cannot be read.
    """
    camera_ids = _cameras(_own(folder / "cameras.bin"))
    rig_ids = _rigs(_own(folder / "rigs.bin")) if has_frames else set()
    image_ids = _images(_own(folder / "images.bin"), camera_ids)
    if has_frames:
        _frames(_own(folder / "frames.bin"), rig_ids, image_ids)
    _points(_own(folder / "points3D.bin"))


class Content:
    """The bytes of a file, taken from front to end.

    Raises:
        ValueError: By all that takes them, if they are not there or not what is asked for.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._name, self._at = path.name, 0
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def take(self, layout: str) -> tuple[Any, ...]:
        """Numbers, little-endian."""
        start = self._at
        self.skip(struct.calcsize(f"<{layout}"))
        return struct.unpack_from(f"<{layout}", self._bytes, start)

    def skip(self, num_bytes: int) -> None:
        """Pass over bytes that are there."""
        if num_bytes > len(self._bytes) - self._at:
            raise ValueError(f"{self._name} ends too early")
        self._at += num_bytes

    def take_name(self, errors: str = "strict") -> str:
        """Text that ends in a zero byte; what to do where it is no UTF-8 as for `bytes.decode`."""
        end = self._bytes.find(b"\0", self._at, self._at + _MAX_NAME_BYTES)
        if end < 0:
            raise ValueError(f"{self._name} has a name without end")
        try:
            name = self._bytes[self._at : end].decode("utf-8", errors)
        except UnicodeDecodeError as error:
            raise ValueError(f"{self._name} has a name that is no UTF-8") from error
        self._at = end + 1
        return name

    def check(self, what: str, identifier: int, known: Collection[int]) -> None:
        """Refuse the number of something that is not there."""
        if identifier not in known:
            raise ValueError(f"{self._name} names the {what} {identifier}, which there is not")

    def finish(self) -> None:
        """Refuse what follows behind the end."""
        if self._at != len(self._bytes):
            raise ValueError(f"{self._name} goes on behind its end")


def _own(path: Path) -> Content:
    """A file of a model that this package wrote, which has no links."""
    if path.is_symlink() or not path.is_file() or not path.stat().st_size:
        raise ValueError(f"{path.name} is missing")
    return Content(path)


def _cameras(content: Content) -> set[int]:
    import pycolmap

    kinds = {int(kind): kind for kind in pycolmap.CameraModelId.__members__.values()}
    del kinds[int(pycolmap.CameraModelId.INVALID)]
    ids = set()
    (number,) = content.take("Q")
    for _ in range(number):
        camera_id, kind, _, _ = content.take("IiQQ")
        content.check("camera model", kind, kinds.keys())
        ids.add(camera_id)
        content.skip(8 * len(pycolmap.Camera.create_from_model_id(0, kinds[kind], 1.0, 1, 1).params))
    content.finish()
    return ids


def _rigs(content: Content) -> set[int]:
    ids = set()
    (number,) = content.take("Q")
    for _ in range(number):
        rig_id, num_sensors = content.take("II")
        ids.add(rig_id)
        for index in range(num_sensors):
            content.take("iI")
            if index and content.take("B")[0]:  # all but the first may lie elsewhere in the rig
                content.skip(_POSE_BYTES)
    content.finish()
    return ids


def _images(content: Content, camera_ids: set[int]) -> set[int]:
    ids = set()
    (number,) = content.take("Q")
    for _ in range(number):
        (image_id,) = content.take("I")
        ids.add(image_id)
        content.skip(_POSE_BYTES)
        content.check("camera", content.take("I")[0], camera_ids)
        content.take_name()
        content.skip(24 * content.take("Q")[0])  # x, y and the point of every key point
    content.finish()
    return ids


def _frames(content: Content, rig_ids: set[int], image_ids: set[int]) -> None:
    (number,) = content.take("Q")
    for _ in range(number):
        _, rig_id = content.take("II")
        content.check("rig", rig_id, rig_ids)
        content.skip(_POSE_BYTES)
        for _ in range(content.take("I")[0]):
            _, _, image_id = content.take("iIQ")
            content.check("image", image_id, image_ids)
    content.finish()


def _points(content: Content) -> None:
    (number,) = content.take("Q")
    for _ in range(number):
        content.skip(8 + 3 * 8 + 3 + 8)  # number, place, colour, error
        content.skip(8 * content.take("Q")[0])
    content.finish()
