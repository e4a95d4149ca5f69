"""The folder of generated clips: finished ones, and notes about those under way.

A clip is ``ASTEM__BSTEM_N.mp4`` (``_ba`` at the end where the file runs from B to A) as `clips.files` reads it, so the
folder serves as ``--clips`` as it is, here or on another machine. Beside it lies its record (`clips.record`), written
first: a clip without a record is not ours. Notes about clips that are not finished lie in ``tasks/``, one file each.

Everything is written as a whole or not at all. Several processes may make clips that cost nothing: each is claimed by
one of them (`ClipStore.making`). Who spends money is alone in the folder (`ClipStore.locked`), so that what is spent is
counted in one place. Reading needs no lock.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from interpose_sfm.clips.files import INDEX_NAME, clip_stem, photo_keys
from interpose_sfm.clips.record import ClipRecord, read_record, record_path
from interpose_sfm.storage.atomic import TEMP_PREFIX, atomic_write_bytes, atomic_write_json
from interpose_sfm.storage.folders import LOCK_NAME
from interpose_sfm.storage.locks import LockHeldError, SharedLock, acquire_lock, claimed
from interpose_sfm.storage.workspace import WorkspaceBusyError

TASK_FORMAT = 1

logger = logging.getLogger(__name__)
_TASKS = "tasks"
_NAMING = "naming.claim"  # by who chooses the name of a file
_MAX_USD = 1e6
_CLEANING_S = 5.0  # how long another process may clean up
_LOOK_S = 0.05  # how often it is looked whether it still does
_UNNAMED = "clip-"  # begins the names of clips whose photos no file name can tell apart


@dataclass(frozen=True)
class StoredClip:
    """A finished clip.

    Attributes:
        path: The video.
        record: How it was made.
    """

    path: Path
    record: ClipRecord


@dataclass
class ClipStore:
    """A folder of generated clips; made with the first one.

    Attributes:
        folder: Where it is.
        photo_names: All photos of the collection, for the names of files.
        is_for_several: Whether several processes may write there, as far as is known: False once the file system has
            turned out to have no locks.
    """

    folder: Path
    photo_names: Sequence[str]
    is_for_several: bool = field(default=True, init=False)
    _clips: dict[str, list[StoredClip]] | None = None
    _costs: dict[str, float] = field(default_factory=dict)  # path of a record -> dollars
    _intact: set[Path] = field(default_factory=set)
    _saving: threading.RLock = field(default_factory=threading.RLock)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all other processes from writing, and clean up what a killed one left half written.

        Raises:
            WorkspaceBusyError: Another process makes clips there.
            ValueError: The folder cannot be written.
        """
        try:
            lock = acquire_lock(self.folder / LOCK_NAME)
        except LockHeldError as error:
            raise self._busy(error.holder) from None
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._clean_up()
            yield
        finally:
            lock.release()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Write beside other processes that do the same; the first one cleans up what a killed one left half written.

        Raises:
            WorkspaceBusyError: Another process is alone there.
            ValueError: The folder cannot be written.
        """
        try:
            lock = SharedLock(self.folder / LOCK_NAME)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            if lock.try_alone():
                self._clean_up()
            self.is_for_several = lock.has_locks
            deadline = time.monotonic() + _CLEANING_S
            while not lock.try_share():  # by who is cleaning up, or by who spends and stays
                if time.monotonic() > deadline:
                    raise self._busy(lock.holder())
                time.sleep(_LOOK_S)
            yield
        finally:
            lock.release()

    @contextmanager
    def making(self, key: str, *, wait: bool) -> Iterator[bool]:
        """Claim a clip, so that nobody else makes it meanwhile; only while the store is shared.

        Args:
            key: Of the clip.
            wait: Whether to wait for who has claimed it.

        Yields:
            Whether it is claimed and not made yet.
        """
        with claimed(self.folder / _TASKS / f"{key}.claim", wait=wait) as is_ours:
            if is_ours:
                self.look_again()
            yield is_ours and self.find(key) is None

    def look_again(self) -> None:
        """Find out which clips others have finished meanwhile."""
        with self._saving:
            self._clips = None

    def _clean_up(self) -> None:
        """Remove what a killed process left half written or claimed; only while nobody else is there.

        A claim that is held stays, and what is written beside it: who describes a pair has not come in yet.
        """
        for folder in (self.folder, self.folder / _TASKS):
            is_at_work = False
            for claim in folder.glob("*.claim"):
                with claimed(claim, wait=False) as is_free:
                    is_at_work |= not is_free
            for leftover in () if is_at_work else folder.glob(f"{TEMP_PREFIX}*"):
                leftover.unlink(missing_ok=True)
        self._clips = None  # others may have finished some
        self._list_unnamed()

    def _busy(self, holder: str) -> WorkspaceBusyError:
        return WorkspaceBusyError(
            f"the clip store {self.folder} is in use by another run ({holder}); wait for it, stop it, or choose "
            "another folder with --clip-store"
        )

    def _unwritable(self, error: OSError) -> ValueError:
        return ValueError(f"cannot write to the clip store {self.folder} ({error}); choose another one")

    # -------------------------------------------------------- finished clips

    def find(self, key: str) -> StoredClip | None:
        """The finished clip with a key; None if there is none, or if its file was altered since."""
        with self._saving:
            candidates = self._all().get(key, [])
            while candidates:
                stored = candidates[0]
                if stored.path in self._intact or stored.record.is_of(stored.path.read_bytes()):
                    self._intact.add(stored.path)
                    return stored
                logger.warning("%s was altered or cut off since it was made, and is made anew", stored.path)
                candidates.pop(0)
            return None

    def records(self) -> tuple[ClipRecord, ...]:
        """Records of all finished clips."""
        with self._saving:
            return tuple(clips[0].record for clips in self._all().values() if clips)

    def save(self, record: ClipRecord, data: bytes, number: int) -> StoredClip:
        """Keep a clip, and forget the notes about it; only while the store is locked or shared.

        Args:
            record: Of the clip; its digest is filled in here.
            data: The video file.
            number: What the file's name should say; the next free one is taken where it is in use.
        """
        record = replace(record, sha256=hashlib.sha256(data).hexdigest())
        with self._saving, claimed(self.folder / _TASKS / _NAMING):
            path = self.folder / f"{self._free_stem(record, number)}.mp4"
            atomic_write_json(record_path(path), record.to_json())
            atomic_write_bytes(path, data)
            clip = StoredClip(path, record)
            self._all().setdefault(record.key, []).insert(0, clip)
            self._costs[record_path(path).name] = record.cost_usd
            self._intact.add(path)
            self._list_unnamed()
            self.task(record.key).forget()
        return clip

    def spent_usd(self, set_aside: Mapping[str, float] = MappingProxyType({})) -> float:
        """What the clips of this folder have cost, those that were asked for and never fetched included.

        Args:
            set_aside: Key -> price of clips that are being made now; each counts until it is finished.
        """
        with self._saving:
            finished = {key for key, clips in self._all().items() if clips}
            under_way = sum(price for key, price in set_aside.items() if key not in finished)
            for task in self.tasks():
                if task.key not in set_aside and task.key not in finished and task.read():
                    under_way += task.estimate_usd
            return sum(self._costs.values()) + under_way

    def task(self, key: str, estimate_usd: float = 0.0) -> Task:
        """The notes about a clip under way."""
        return Task(self.folder / _TASKS / f"{key}.json", estimate_usd)

    def tasks(self) -> tuple[Task, ...]:
        """All notes that there are."""
        return tuple(Task(path) for path in sorted((self.folder / _TASKS).glob("*.json")))

    def _all(self) -> dict[str, list[StoredClip]]:
        """Every clip that has a record, by key; of two with one key the first by name first."""
        if self._clips is None:
            self._clips, self._costs = {}, {}
            for path in sorted(self.folder.glob("*.json")):
                if "__" not in path.name and not path.name.startswith(_UNNAMED):
                    continue
                clip = path.with_suffix(".mp4")
                try:
                    record = read_record(path)
                except (ValueError, OSError) as error:
                    logger.warning("%s; it is not used", error)
                    continue
                self._costs[path.name] = record.cost_usd
                if clip.is_file():
                    self._clips.setdefault(record.key, []).append(StoredClip(clip, record))
        return self._clips

    # -------------------------------------------------------- names

    def _free_stem(self, record: ClipRecord, number: int) -> str:
        """A name that no file has; that of a record without its clip, which a kill left, may be taken by its own."""
        names = {path.name.casefold() for path in self.folder.iterdir()}  # some file systems see no case
        keys = photo_keys([*self.photo_names, *({record.a.name, record.b.name} - set(self.photo_names))])
        while True:
            numbered = f"_{number}_ba" if record.backwards else f"_{number}"
            stem = clip_stem(record.a.name, record.b.name, numbered, keys)
            stem = stem or f"{_UNNAMED}{record.key[:16]}{numbered}"
            other = stem.removesuffix("_ba") if record.backwards else f"{stem}_ba"  # one number, one clip
            taken = {f"{name}{suffix}".casefold() for name in (stem, other) for suffix in (".mp4", ".json")} & names
            if not taken or (taken == {f"{stem}.json".casefold()} and self._is_record_of(stem, record.key)):
                return stem
            number += 1

    def _is_record_of(self, stem: str, key: str) -> bool:
        try:
            return read_record(self.folder / f"{stem}.json").key == key
        except (ValueError, OSError):
            return False

    def _list_unnamed(self) -> None:
        """Say in ``clips.json`` which photos the clips bridge whose names do not."""
        known = [clip for clips in self._all().values() for clip in clips]
        unnamed = {clip.path.name: clip.record for clip in known if clip.path.name.startswith(_UNNAMED)}
        if not unnamed:
            return
        index = self.folder / INDEX_NAME
        try:
            entries = json.loads(index.read_text(encoding="utf-8-sig")) if index.exists() else []
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{index} cannot be read as JSON: {error}; mend or delete it") from error
        if not isinstance(entries, list):
            raise ValueError(f"{index}: got {type(entries).__name__}, expected a list; mend or delete it")
        wanted = [
            {"a": record.a.name, "b": record.b.name, "clips": [{"file": name, "backwards": record.backwards}]}
            for name, record in sorted(unnamed.items())
        ]
        new = [entry for entry in wanted if entry not in entries]
        if new:
            atomic_write_json(index, [*entries, *new])


@dataclass(frozen=True)
class Task:
    """Notes about a clip that is not finished, in a file of its own: a `TaskJournal`.

    Attributes:
        path: The file; there is none before the first note.
        price_usd: What the clip is expected to cost.
    """

    path: Path
    price_usd: float = 0.0

    @property
    def key(self) -> str:
        """Of the clip."""
        return self.path.stem

    def take(self, other: Task) -> None:
        """Take over the notes of another store, if this one has none."""
        if not self.path.exists():
            self.path.parent.mkdir(exist_ok=True)
            atomic_write_bytes(self.path, other.path.read_bytes())

    def read(self) -> dict[str, str]:
        """The notes of the last `write`; empty before the first.

        Raises:
            ValueError: The file is damaged. What it said may be the number of a task that was paid for.
        """
        return dict(self._document()["notes"])

    def write(self, notes: Mapping[str, str]) -> None:
        """Replace the notes."""
        self._put({**self._document(), "notes": dict(notes), "estimate_usd": self.price_usd})

    @property
    def estimate_usd(self) -> float:
        """What the clip was expected to cost when the notes were written."""
        return float(self._document()["estimate_usd"])

    @property
    def refusal(self) -> str:
        """Why asking again is of no use; empty if it may be."""
        return str(self._document()["refusal"])

    def refuse(self, reason: str) -> None:
        """Remember that the clip will never be made."""
        self._put({**self._document(), "refusal": reason})

    def forget(self) -> None:
        """Remove the notes."""
        self.path.unlink(missing_ok=True)

    def _put(self, document: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(exist_ok=True)
        atomic_write_json(self.path, document)

    def _document(self) -> dict[str, Any]:
        empty = {"format": TASK_FORMAT, "notes": {}, "estimate_usd": 0.0, "refusal": ""}
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            if not _is_task(document):
                raise ValueError("got something else, expected notes about a clip")
        except FileNotFoundError:
            return empty
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(
                f"{self.path} cannot be read ({error}): look in your account for a clip that was paid for and not "
                "fetched, then delete the file"
            ) from error
        return {**empty, **document}


def _is_task(document: object) -> bool:
    if not isinstance(document, dict) or document.get("format") != TASK_FORMAT:
        return False
    notes, estimate, refusal = (document.get(name) for name in ("notes", "estimate_usd", "refusal"))
    return (
        isinstance(notes, dict)
        and all(isinstance(value, str) for value in notes.values())
        and isinstance(estimate, (int, float))
        and not isinstance(estimate, bool)
        and 0 <= estimate <= _MAX_USD  # false for NaN; less than nothing would leave more to be spent
        and isinstance(refusal, str)
    )
