"""The output folder of one run: where its files are, who may write them, which stages are done."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from interpose_sfm.storage.atomic import (
    TEMP_PREFIX,
    atomic_directory,
    atomic_write_json,
    recover_directory,
    remove_path,
)
from interpose_sfm.storage.content_keys import content_key
from interpose_sfm.storage.digests import digest_of
from interpose_sfm.storage.folders import LOCK_NAME, check_ours
from interpose_sfm.storage.locks import LockHeldError, acquire_lock
from interpose_sfm.storage.names import inside, refuse_links

logger = logging.getLogger(__name__)

STAGES = ("photos", "base", "apart", "again", "split", "split_again")
"""The stages of a run that are kept, in their order; a stage that is done anew makes all later ones undone."""

FORMAT_VERSION = 1
"""Version of the folder layout. A folder of a newer version is refused."""

CLIPS_NAME = "clips"
"""Name of the folder of generated clips, in an output folder."""

_MARKER = ".interpose_sfm"


class WorkspaceBusyError(RuntimeError):
    """Another run is working in the same output folder."""


class Workspace:
    """The output folder of one run.

    Making one only looks at the disk; `locked` creates the folder and takes it.

    Attributes:
        root: The folder, absolute.
        images_dir: Photos as COLMAP reads them.
        frames_dir: Frames of videos among the photos.
        masks_dir: Masks of these photos, where there are any.
        database_path: COLMAP database.
        base_dir, sparse_dir: COLMAP models 0, 1, ... of the base stage and of the whole run.
        clips_dir, sheets_dir: Generated clips, and pictures to look them over.
        report_path, page_path: Report, and the same as a page.
        points_path: Point cloud (PLY).
        stages_path: Which stages are done.
        work_dir: Temporary things; made empty when a run starts, removed when it ends.
    """

    def __init__(self, root: Path) -> None:
        """Name the paths of a run.

        Raises:
            ValueError: if ``root`` is a file, a folder with files that are not ours, of a newer version, or unreadable.
        """
        self.root = Path(root).absolute()
        self.images_dir = self.root / "images"
        self.frames_dir = self.root / "frames"
        self.masks_dir = self.root / "masks"
        self.database_path = self.root / "database.db"
        self.base_dir = self.root / "base"
        self.sparse_dir = self.root / "sparse"
        self.clips_dir = self.root / CLIPS_NAME
        self.sheets_dir = self.root / "sheets"
        self.report_path = self.root / "report.json"
        self.page_path = self.root / "report.html"
        self.points_path = self.root / "points.ply"
        self.stages_path = self.root / "stages.json"
        self.work_dir = self.root / "work"
        self._warned_of_stages = False
        self._check_root()

    @contextmanager
    def locked(self) -> Iterator[Workspace]:
        """Create the folder if need be, keep all other runs out of it, and clean up what a killed run left half done.

        Raises:
            WorkspaceBusyError: if another run is working there.
            ValueError: if the folder cannot be used, see `Workspace`, or cannot be written.
        """
        self._check_root()
        refuse_links(self.root)
        with ExitStack() as stack:
            try:
                stack.callback(acquire_lock(self.root / LOCK_NAME).release)
                self._prepare()
            except LockHeldError as error:
                raise WorkspaceBusyError(
                    f"{self.root} is in use by another run ({error.holder}); wait for it, stop it, or choose another "
                    "output folder"
                ) from None
            except OSError as error:
                raise ValueError(
                    f"cannot write to the output folder {self.root} ({error}); choose another one"
                ) from error
            try:
                yield self
            finally:
                with suppress(OSError):  # emptied by the next run otherwise
                    remove_path(self.work_dir)

    def put(self, source: Path, target: Path) -> None:
        """Copy a file into the place of another one as a whole; only while the folder is locked."""
        temporary = self.work_dir / "copy"
        shutil.copyfile(source, temporary)
        temporary.replace(target)

    # -------------------------------------------------------- stages

    def is_done(self, stage: str, key: str) -> bool:
        """Whether a stage was finished with this key and what it wrote is still there, and whole."""
        record = self._stages().get(_checked(stage))
        if record is None or record["key"] != key:
            return False
        outputs = record["outputs"]
        for name, digest in (outputs if isinstance(outputs, dict) else dict.fromkeys(outputs)).items():
            problem = self._problem(name, digest)
            if problem:
                logger.warning("stage %s is done again: %s", stage, problem)
                return False
        return True

    def _problem(self, name: str, digest: str | None) -> str:
        """Why what a stage wrote cannot be used; empty if it can."""
        try:
            path = inside(self.root, name)
            if digest is None:
                return "" if path.exists() else f"{path} is missing"
            return "" if digest_of(path) == digest else f"{path} was damaged or altered since it was written"
        except (ValueError, OSError) as error:
            return str(error)

    def mark_done(self, stage: str, key: str, *, outputs: Sequence[Path] = ()) -> None:
        """Record that a stage is finished; with another key than before, all later stages are forgotten.

        Args:
            stage: One of `STAGES`.
            key: Content key of all that the stage depends on: inputs, options, versions, weights, seed.
            outputs: Files and folders in the workspace without which, as they are now, the stage is not done.
        """
        stages = self._stages()
        if stages.get(_checked(stage), {}).get("key") != key:
            stages = _before(stages, stage)
        paths = [Path(path).absolute() for path in outputs]
        digests = {path.relative_to(self.root).as_posix(): digest_of(path) for path in paths}
        self._write_stages({**stages, stage: {"key": key, "outputs": digests}})

    def forget(self, stage: str) -> None:
        """Forget that a stage and all later ones are done.

        A stage that overwrites files of an earlier run calls this first: killed half-way, it must not count as done.
        """
        stages = self._stages()
        kept = _before(stages, _checked(stage))
        if len(kept) < len(stages):
            self._write_stages(kept)

    def made_once(self, stage: str, key: str, make: Callable[[Path], None]) -> Path:
        """The folder of a stage beside the base models, made anew where it is not there with this key.

        Args:
            stage: One of `STAGES`, and the folder's name.
            key: See `mark_done`.
            make: Fills an empty folder, which is put in its place once it is whole.
        """
        folder = self.base_dir / stage
        if not self.is_done(stage, key):
            self.forget(stage)
            with atomic_directory(folder) as temporary:
                make(temporary)
            self.mark_done(stage, key, outputs=[folder])
        return folder

    def _write_stages(self, stages: dict[str, Any]) -> None:
        document = {"format": FORMAT_VERSION, "stages": stages, "check": content_key(stages)}
        atomic_write_json(self.stages_path, document)

    def _stages(self) -> dict[str, Any]:
        """Records of the stages that are done; none if the file is missing, damaged or was edited."""
        try:
            document = json.loads(self.stages_path.read_text(encoding="utf-8"))
            stages = document["stages"]
            intact = document["format"] == FORMAT_VERSION and document["check"] == content_key(stages)
            if intact:
                return {name: record for name, record in stages.items() if _is_record(record)}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            intact = False
        if not self._warned_of_stages:
            logger.warning("%s is damaged or was edited: all stages are done again", self.stages_path)
            self._warned_of_stages = True
        return {}

    # -------------------------------------------------------- the folder itself

    def _check_root(self) -> None:
        """Refuse a folder that is not ours, without writing anything."""
        if check_ours(self.root, _MARKER, "output folder"):
            self._check_marker()

    def _check_marker(self) -> None:
        """Refuse a folder of a newer version."""
        marker = self.root / _MARKER
        try:
            version = json.loads(marker.read_text(encoding="utf-8"))["format"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{marker} cannot be read ({error}); delete the folder or choose another one") from error
        if type(version) is not int or version < 1:
            raise ValueError(f"{marker} holds format {version!r}; delete the folder or choose another one")
        if version > FORMAT_VERSION:
            raise ValueError(
                f"{self.root} was written by a newer version of interpose_sfm (format {version}, this one knows "
                f"{FORMAT_VERSION}); update interpose_sfm or choose another folder"
            )

    def _prepare(self) -> None:
        """Mark the folder as ours and put right what a killed run left."""
        if not (self.root / _MARKER).exists():
            atomic_write_json(self.root / _MARKER, {"format": FORMAT_VERSION})
        for old in self.root.glob(f"{TEMP_PREFIX}*.old"):
            recover_directory(self.root / old.name[len(TEMP_PREFIX) : -len(".old")])
        for leftover in self.root.glob(f"{TEMP_PREFIX}*"):
            remove_path(leftover)
        remove_path(self.work_dir)
        self.work_dir.mkdir()


def _is_record(record: object) -> bool:
    """Whether it is what `Workspace.mark_done` writes, or earlier versions did: a list of names without digests."""
    if not isinstance(record, dict) or not isinstance(record.get("key"), str):
        return False
    outputs = record.get("outputs")
    texts = outputs.values() if isinstance(outputs, dict) else outputs if isinstance(outputs, list) else [None]
    return all(isinstance(text, str) for text in texts)


def is_output_folder(path: Path) -> bool:
    """Whether a run has written into a folder; nothing is changed."""
    return (path / _MARKER).is_file()


def _checked(stage: str) -> str:
    if stage not in STAGES:
        raise ValueError(f"got stage {stage!r}, expected one of {', '.join(STAGES)}")
    return stage


def _before(stages: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Records of the stages before one."""
    return {name: stages[name] for name in STAGES[: STAGES.index(stage)] if name in stages}
