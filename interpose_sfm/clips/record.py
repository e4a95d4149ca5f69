"""What is written beside a generated clip: how it was made, and where the photos lie in its frames.

The JSON file has the name of the clip with the suffix ``.json``. It names no path, so that a folder of clips can be
moved to another machine, and nothing in it is run. A record that does not fit its clip (which was replaced, or cut off)
says nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from interpose_sfm.options import Fit
from interpose_sfm.products import ClipFormat, FrameMapping, ImagePair, Settings
from interpose_sfm.storage.json_values import to_jsonable

RECORD_FORMAT = 1

logger = logging.getLogger(__name__)
_T = TypeVar("_T")
_MAX_BYTES = 1_000_000
_MAX_SIDE_PX = 65_536


@dataclass(frozen=True, kw_only=True)
class ShownPhoto:
    """A photo that a clip begins or ends with.

    Attributes:
        name: Of the photo in its collection.
        width_px, height_px: Its size.
        frame_from_photo: Where it lies in the frames of the file; None where that has to be measured, because the video
            came back in another shape than was asked for.
    """

    name: str
    width_px: int
    height_px: int
    frame_from_photo: FrameMapping | None


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """How a clip was made.

    Attributes:
        key: Content key of everything that determines the clip.
        sha256: Hex digest of the video file.
        a, b: The photos, in name order.
        backwards: True if the file runs from b to a.
        generator: Name of the generator, as on the command line.
        settings: Of the model.
        revision: Of the weights, or the model's name as the service tells it.
        prompt, negative_prompt, seed: What the model was told.
        fit: How the photos were brought to the model's size.
        asked, got: Size and length that the model was asked for, and those of the file.
        time_s: What it took.
        cost_usd: What was paid.
        made_at: Date and time, ISO 8601 in UTC.
    """

    key: str
    sha256: str
    a: ShownPhoto
    b: ShownPhoto
    backwards: bool
    generator: str
    settings: Settings
    revision: str
    prompt: str
    negative_prompt: str
    seed: int
    fit: Fit
    asked: ClipFormat
    got: ClipFormat
    time_s: float
    cost_usd: float
    made_at: str

    @property
    def pair(self) -> ImagePair:
        """The photos by name, in name order."""
        return ImagePair(self.a.name, self.b.name)

    @property
    def ends(self) -> tuple[ShownPhoto, ShownPhoto]:
        """The photos that the first and the last frame of the file show."""
        return (self.b, self.a) if self.backwards else (self.a, self.b)

    @property
    def source(self) -> str:
        """Who imagined it, as `VideoGenerator.sources` names them."""
        return self.generator.partition(":")[0]

    def is_of(self, data: bytes) -> bool:
        """Whether these are the bytes of the video that the record was written for."""
        return hashlib.sha256(data).hexdigest() == self.sha256

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"format": RECORD_FORMAT, **to_jsonable(self)}


def record_path(clip: Path) -> Path:
    """Where the record of a clip lies."""
    return clip.with_suffix(".json")


def record_of(clip: Path) -> ClipRecord | None:
    """The record of a clip; None where there is none that fits, which is said in a warning if it is broken."""
    path = record_path(clip)
    if not clip.is_file() or not path.is_file():
        return None
    try:
        record = read_record(path)
        if record.is_of(clip.read_bytes()):
            return record
        logger.warning("%s was written for another file than %s and is not used", path, clip.name)
    except (ValueError, OSError) as error:
        logger.warning("%s; it is not used", error)
    return None


def recorded_ends(clip: Path) -> tuple[str, str] | None:
    """The photos that a file begins and ends with as its record has them, without looking at the file."""
    try:
        first, last = read_record(record_path(clip)).ends
    except (ValueError, OSError):
        return None
    return first.name, last.name


def read_record(path: Path) -> ClipRecord:
    """Read and check a record.

    Raises:
        ValueError: Not JSON, not a record, or one of another version; the message names the file and the field.
        OSError: It cannot be read.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{path}: got {path.stat().st_size} bytes, expected the record of a clip")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}), expected the record of a clip") from error
    if not isinstance(values, dict) or values.get("format") != RECORD_FORMAT:
        got = values.get("format") if isinstance(values, dict) else type(values).__name__
        raise ValueError(f"{path}: got format {got!r}, expected the record of a clip, format {RECORD_FORMAT}")
    fields = _Fields(str(path), values)
    record = ClipRecord(
        key=fields.get("key", str),
        sha256=fields.get("sha256", str),
        a=_photo(fields.inner("a")),
        b=_photo(fields.inner("b")),
        backwards=fields.get("backwards", bool),
        generator=fields.get("generator", str),
        settings=_settings(fields),
        revision=fields.get("revision", str),
        prompt=fields.get("prompt", str),
        negative_prompt=fields.get("negative_prompt", str),
        seed=fields.get("seed", int),
        fit=fields.choice("fit", Fit),
        asked=_format(fields.inner("asked")),
        got=_format(fields.inner("got")),
        time_s=fields.number("time_s"),
        cost_usd=fields.number("cost_usd"),
        made_at=fields.get("made_at", str),
    )
    if not record.a.name < record.b.name:
        raise ValueError(f"{path}: got the photos {record.a.name!r} and {record.b.name!r}, expected two in name order")
    return record


def _photo(fields: _Fields) -> ShownPhoto:
    mapping = None
    if fields.values.get("frame_from_photo") is not None:
        inner = fields.inner("frame_from_photo")
        mapping = FrameMapping(inner.vector("scale"), inner.vector("offset_px"))
        if min(mapping.scale) <= 0:
            raise ValueError(f"{fields.where}: got the scale {mapping.scale}, expected numbers above zero")
    return ShownPhoto(
        name=fields.get("name", str),
        width_px=fields.side("width_px"),
        height_px=fields.side("height_px"),
        frame_from_photo=mapping,
    )


def _format(fields: _Fields) -> ClipFormat:
    return ClipFormat(
        width_px=fields.side("width_px"),
        height_px=fields.side("height_px"),
        num_frames=fields.get("num_frames", int),
        fps=fields.number("fps"),
    )


def _settings(fields: _Fields) -> Settings:
    values: dict[str, Any] = fields.get("settings", dict)
    if not all(isinstance(value, (str, int, float, bool)) for value in values.values()):
        raise ValueError(f"{fields.where}.settings: got {values!r}, expected text, numbers, true or false")
    return values


@dataclass(frozen=True)
class _Fields:
    """The fields of a JSON object, checked one by one."""

    where: str
    values: Mapping[str, Any]

    def get(self, name: str, kind: type[_T]) -> _T:
        value = self.values.get(name)
        if type(value) is not kind:  # True is no number here
            raise ValueError(f"{self.where}: got {name} = {value!r}, expected {kind.__name__}")
        return value

    def number(self, name: str) -> float:
        value: Any = self.values.get(name)
        if not _is_number(value) or value < 0:
            raise ValueError(f"{self.where}: got {name} = {value!r}, expected a number of at least zero")
        return float(value)

    def side(self, name: str) -> int:
        value = self.get(name, int)
        if not 0 < value <= _MAX_SIDE_PX:
            raise ValueError(f"{self.where}: got {name} = {value}, expected a size in pixels")
        return value

    def choice(self, name: str, kind: type[Fit]) -> Fit:
        try:
            return kind(self.get(name, str))
        except ValueError as error:
            raise ValueError(f"{self.where}: {error}") from error

    def vector(self, name: str) -> tuple[float, float]:
        value = self.get(name, list)
        numbers = [v for v in value if _is_number(v)]
        if len(value) != 2 or len(numbers) != 2:
            raise ValueError(f"{self.where}: got {name} = {value!r}, expected two numbers")
        return float(numbers[0]), float(numbers[1])

    def inner(self, name: str) -> _Fields:
        return _Fields(f"{self.where}: {name}", self.get(name, dict))


def _is_number(value: object) -> bool:
    """Whether JSON gave a number that a float can hold."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]
