"""What a video model is told: two prompts per pair, one short and one longer, as in InterPose (arXiv 2412.16155).

A captioner says what both photos show; around that, every prompt asks for a static scene and a moving camera, since
only then do the frames tell the pose. The prompts in use are written beside the clips as ``prompts.json``; the same
file, edited, can be handed in. For a pair, what is looked up comes in this order: the file that was handed in, what
the captioner said of the same photos before, the captioner.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpose_sfm.products import ImagePair
from interpose_sfm.storage.atomic import atomic_write_json
from interpose_sfm.storage.content_keys import content_key
from interpose_sfm.storage.locks import claimed
from interpose_sfm.storage.texts import read_text
from interpose_sfm.video_models.captioners import Caption, Captioner, create_captioner, one_line
from interpose_sfm.video_models.clip_plans import ClipPrompt
from interpose_sfm.video_models.protocol import GenerationContext

logger = logging.getLogger(__name__)

FILE_NAME = "prompts.json"
FILE_FORMAT = 1
NEGATIVE = "people, moving objects, changing light, hard cut, cross-fade, text, watermark, distortion, blur"
MAX_PROMPT_CHARS = 2000

_SHORT = "The camera moves smoothly through a static scene."
_LONG = (
    "One continuous shot of a static scene. The camera moves slowly and smoothly from the first view to the last one; "
    "nothing in the scene moves or changes, the light stays the same, and walls, ground and objects keep their shape."
)


@dataclass(frozen=True)
class PairEntry:
    """The prompts of one pair, as a prompt file holds them.

    Attributes:
        pair: The photos, in name order.
        prompts: At least one.
        captioner: Who described the photos; empty where somebody wrote the prompts.
        photos: Content keys of the photos that were described; empty for prompts that hold for any.
    """

    pair: ImagePair
    prompts: tuple[ClipPrompt, ...]
    captioner: str = ""
    photos: tuple[str, ...] = ()


def prompts_of(caption: Caption) -> tuple[ClipPrompt, ClipPrompt]:
    """The short and the longer prompt around a caption."""
    return _around(caption.short, _SHORT), _around(caption.long, _LONG)


def _around(said: str, asked: str) -> ClipPrompt:
    return ClipPrompt(f"{_sentence(said)} {asked}".strip()[:MAX_PROMPT_CHARS], NEGATIVE)


def _sentence(text: str) -> str:
    text = one_line(text)
    return text if not text or text[-1] in ".!?" else f"{text}."


class PairPrompts:
    """The prompts of every pair; satisfies `PromptSource`."""

    def __init__(self, context: GenerationContext) -> None:
        """Read the file that was handed in; loads no captioner and asks nobody.

        Raises:
            ValueError: The file cannot be used, or there is no such captioner.
            OSError: It cannot be read.
        """
        options = context.generation
        self._context = context
        self._captioner: Captioner = create_captioner(options)
        self._path = None if context.clip_store is None else context.clip_store / FILE_NAME
        self._given = {} if options.prompt_file is None else read_prompt_file(options.prompt_file)
        strangers = {name for pair in self._given for name in (pair.a, pair.b)} - {*context.photo_names}
        if strangers:
            listed = ", ".join(sorted(strangers)[:3])
            logger.warning("%s has prompts for photos that are not here: %s", options.prompt_file, listed)
        self._used: dict[ImagePair, PairEntry] = {}
        self._num_undescribed = 0

    def prompts(self, pair: ImagePair) -> Sequence[ClipPrompt]:
        """The variants for a pair, the same in either order.

        Raises:
            ValueError, ImportError: The captioner cannot be had; the message says what to do.
        """
        pair = ImagePair.sorted(pair.a, pair.b)
        if pair not in self._used:
            self._used[pair] = self._given.get(pair) or self._described(pair)
        return self._used[pair].prompts

    def close(self) -> None:
        """Write the prompts in use, and free the memory of the captioner."""
        if self._num_undescribed:
            logger.warning(
                "%d pairs are not described yet: their prompts here lack what the captioner %s will say",
                self._num_undescribed,
                self._captioner.name,
            )
        self._captioner.close()
        self._save()

    def _described(self, pair: ImagePair) -> PairEntry:
        captioner = self._captioner
        if not captioner.looks_at_photos:
            return PairEntry(pair, prompts_of(Caption("", "")), captioner.name)
        images = [self._context.load_image(name) for name in (pair.a, pair.b)]
        photos = tuple(content_key(image) for image in images)
        known = self._known_of(pair, photos)
        if known is not None:
            return known
        if self._context.is_dry_run:
            self._num_undescribed += 1
            return PairEntry(pair, prompts_of(Caption("", "")))
        with self._describing(pair):  # two runs would get two answers, and make the clips of both
            entry = self._known_of(pair, photos)
            if entry is None:
                said = captioner.describe(images[0], images[1])
                entry = self._used[pair] = PairEntry(pair, prompts_of(said), captioner.name, photos)
                self._save()  # an answer that was paid for is not asked for again
        return entry

    def _known_of(self, pair: ImagePair, photos: tuple[str, ...]) -> PairEntry | None:
        """What this captioner has said of these photos, here or in another process."""
        known = self._written().get(pair)
        is_of_them = known is not None and known.captioner == self._captioner.name and known.photos == photos
        return known if is_of_them else None

    def _describing(self, pair: ImagePair) -> AbstractContextManager[object]:
        """Keep other processes from describing a pair."""
        if self._path is None:
            return nullcontext()
        return claimed(self._path.with_name(f"{content_key(pair.a, pair.b)[:16]}.claim"))

    def _written(self) -> Mapping[ImagePair, PairEntry]:
        """What is written by now; a file that cannot be read is left alone until it is written anew."""
        if self._path is None or not self._path.is_file():
            return {}
        try:
            return read_prompt_file(self._path)
        except ValueError as error:
            logger.warning("%s; its prompts are made anew", error)
            return {}

    def _save(self) -> None:
        if self._path is None or self._context.is_dry_run or not self._used:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with claimed(self._path.with_suffix(".claim")):  # other processes may write theirs, which stay
            written = self._written()
            entries = {**written, **self._used}
            if entries != written:
                _write(self._path, entries)


def take_prompts(path: Path, other: Path) -> None:
    """Add the prompts of another prompt file, if it exists, for pairs that this one does not have.

    Raises:
        ValueError: One of the two is no such file.
    """
    if not other.is_file():
        return
    with claimed(path.with_suffix(".claim")):
        entries = read_prompt_file(path) if path.is_file() else {}
        _write(path, {**read_prompt_file(other), **entries})


def _write(path: Path, entries: Mapping[ImagePair, PairEntry]) -> None:
    atomic_write_json(path, {"format": FILE_FORMAT, "pairs": [_as_json(e) for _, e in sorted(entries.items())]})


def _as_json(entry: PairEntry) -> dict[str, Any]:
    return {
        "a": entry.pair.a,
        "b": entry.pair.b,
        "captioner": entry.captioner,
        "photos": list(entry.photos),
        "prompts": [{"text": prompt.text, "negative": prompt.negative} for prompt in entry.prompts],
    }


def read_prompt_file(path: Path) -> dict[ImagePair, PairEntry]:
    """Prompts by pair, from a file such as a run writes; of each prompt only ``text`` is needed.

    Raises:
        ValueError: It is no such file; the message says where.
        OSError: It cannot be read.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"prompt file {path}: not JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("pairs"), list):
        raise ValueError(f'prompt file {path}: got no list "pairs", expected {{"format": 1, "pairs": [...]}}')
    if content.get("format", FILE_FORMAT) != FILE_FORMAT:
        raise ValueError(f"prompt file {path}: got format {content['format']!r}, expected {FILE_FORMAT}")
    entries: dict[ImagePair, PairEntry] = {}
    for number, item in enumerate(content["pairs"]):
        try:
            entry = _entry(item)
        except ValueError as error:
            raise ValueError(f"prompt file {path}, pairs[{number}]: {error}") from error
        if entry.pair in entries:
            raise ValueError(f"prompt file {path}, pairs[{number}]: {entry.pair.a} and {entry.pair.b} come twice")
        entries[entry.pair] = entry
    return entries


def _entry(item: Any) -> PairEntry:
    if not isinstance(item, dict):
        raise ValueError(f"got {type(item).__name__}, expected an object")
    a, b = item.get("a"), item.get("b")
    if not isinstance(a, str) or not isinstance(b, str) or not a or not b or a == b:
        raise ValueError(f'got {a!r} and {b!r} as "a" and "b", expected the names of two photos')
    photos, captioner = item.get("photos", []), item.get("captioner", "")
    if not isinstance(captioner, str) or not isinstance(photos, list) or not all(isinstance(p, str) for p in photos):
        raise ValueError('expected a text as "captioner" and texts as "photos"')
    prompts = item.get("prompts")
    if not isinstance(prompts, list) or not prompts:
        raise ValueError(f'got {prompts!r} as "prompts", expected at least one, such as {{"text": "..."}}')
    made = tuple(_prompt(prompt) for prompt in prompts)
    return PairEntry(ImagePair.sorted(a, b), made, captioner, tuple(photos))


def _prompt(item: Any) -> ClipPrompt:
    if isinstance(item, str):
        item = {"text": item}
    if not isinstance(item, dict):
        raise ValueError(f"got {type(item).__name__} as a prompt, expected a text or an object")
    text, negative = item.get("text"), item.get("negative", NEGATIVE)
    if not isinstance(text, str) or not text.strip() or not isinstance(negative, str):
        raise ValueError(f'got {item!r}, expected a text as "text", and as "negative" if there is one')
    lines = one_line(text, MAX_PROMPT_CHARS), one_line(negative, MAX_PROMPT_CHARS)
    if not lines[0]:
        raise ValueError(f"got {text!r} as a prompt, which has no character that can be printed")
    return ClipPrompt(*lines)


def shortened(text: str, limit: int) -> str:
    """A text cut after a word to so many characters, as services count them: in UTF-16."""
    units = text.encode("utf-16-le")
    if len(units) <= 2 * limit:
        return text
    short = units[: 2 * limit].decode("utf-16-le", "ignore")
    return short[: short.rfind(" ")] if " " in short else short
