"""Every kind of file that is read, damaged at random: it is read as it was, made again, or refused in a sentence.

Seeded. ``FUZZ_MUTATIONS`` says how many mutations of every kind are tried, ``FUZZ_SEED`` which; ``make fuzz`` tries
many.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import base_models
from clip_records import record
from interpose_sfm.clips.files import index_clips
from interpose_sfm.clips.record import read_record
from interpose_sfm.colmap import databases, reconstruction
from interpose_sfm.colmap.model_files import check_model
from interpose_sfm.options import PhotoOptions
from interpose_sfm.page.make import PageSource, make_page
from interpose_sfm.photos.collect import collect_photos
from interpose_sfm.photos.ledger import PhotoLedger
from interpose_sfm.products import (
    Features,
    Matches,
    Pose,
    PoseHypothesis,
    PoseStatus,
)
from interpose_sfm.retrieval.pair_list import read_pair_file
from interpose_sfm.storage.atomic import atomic_write_json
from interpose_sfm.storage.content_keys import content_key
from interpose_sfm.storage.digests import digest_of
from interpose_sfm.storage.feature_stores import FeatureStore, MatchStore
from interpose_sfm.storage.hypotheses import HypothesisStore
from interpose_sfm.storage.stores import Store
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.synthetic import SampleTruth
from interpose_sfm.synthetic.sample import read_sample
from interpose_sfm.video_models.clip_store import ClipStore
from interpose_sfm.video_models.prompts import read_prompt_file
from interpose_sfm.workflows.report_page import read_report
from mutations import json_bytes, mutated_bytes, mutated_json
from page_scene import plain_names, write_run
from photo_folders import put

NUMBER = int(os.environ.get("FUZZ_MUTATIONS", "70"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
MAX_S = 10.0
MAX_GROWTH_KIB = 1 << 20
PHOTOS = ("a.jpg", "b.jpg", "sub/c.jpg")

Reader = Callable[[], object]


class Kind(ABC):
    """A kind of file: how one is made, and what reading it gives."""

    is_ours: ClassVar[bool] = True
    """Nobody else edits it, so that it is read as it was written or not at all."""
    refused: ClassVar[tuple[object, ...]] = ()
    """What reading gives, apart from an error, where the file is not used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def make(self) -> Path:
        """Write the file, and what else there has to be."""

    @abstractmethod
    def read(self) -> object:
        """What the package makes of it, as values that can be compared."""

    def forge(self, document: Any) -> Any:
        """A JSON document with the check that belongs to it."""
        return document


class Ledger(Kind):
    refused = ({},)

    def make(self) -> Path:
        put(self.folder / "photos", *PHOTOS)
        collect_photos(self.folder / "photos", self.folder / "out" / "images", PhotoOptions())
        return self.folder / "out" / "images.interpose-photos.json"

    def read(self) -> object:
        ledger = PhotoLedger(self.folder / "out" / "images", PhotoOptions())
        records = dict(ledger.records)
        ledger.claim({name: self.folder / "photos" / name for name in PHOTOS}, self.folder / "photos")
        return records

    def forge(self, document: Any) -> Any:
        if isinstance(document, dict):
            document.pop("check", None)
            document["check"] = content_key(document)
        return document


class Stages(Kind):
    refused = (False,)

    def make(self) -> Path:
        workspace = Workspace(self.folder / "out")
        with workspace.locked():
            workspace.images_dir.mkdir()
            (workspace.images_dir / "file").write_text("content")
            workspace.mark_done("photos", "k0", outputs=[workspace.images_dir])
            workspace.mark_done("base", "k", outputs=[workspace.images_dir / "file"])
        return workspace.stages_path

    def read(self) -> object:
        workspace = Workspace(self.folder / "out")
        done = workspace.is_done("base", "k")
        workspace.is_done("photos", "k0")
        workspace.forget("again")
        return done

    def forge(self, document: Any) -> Any:
        if isinstance(document, dict) and "stages" in document:
            document["check"] = content_key(document["stages"])
        return document


class Marker(Kind):
    def make(self) -> Path:
        with Workspace(self.folder / "out").locked() as workspace:
            return workspace.root / ".interpose_sfm"

    def read(self) -> object:
        with Workspace(self.folder / "out").locked():
            return True


class StoreKind(Kind):
    kind: type[Store[Any]]
    values: tuple[Any, ...]
    refused = ((None, None, None),)

    def make(self) -> Path:
        path = self.folder / "store.h5"
        with self.kind(path) as store:
            for index, value in enumerate(self.values):
                store.put(str(index), value)
        return path

    def read(self) -> object:
        with self.kind(self.folder / "store.h5") as store:
            found = tuple(store.get(str(index)) for index in range(3))
            return tuple(None if value is None else repr(value) for value in found)


class FeatureFile(StoreKind):
    kind = FeatureStore
    values = tuple(
        Features(np.full((9, 2), float(n)), np.ones((9, 4), np.float32), np.ones(9, np.float32), (40, 30))
        for n in range(3)
    )


class MatchFile(StoreKind):
    kind = MatchStore
    values = tuple(Matches(np.full((7, 2), n, np.uint32), np.ones(7, np.float32)) for n in range(3))


class HypothesisFile(StoreKind):
    kind = HypothesisStore
    values = tuple(
        (PoseHypothesis("clip", (n, 2), PoseStatus.OK, Pose(np.eye(3), np.ones(3)), 1.0, n),) for n in range(3)
    )


class DatabaseFile(Kind):
    """What the base stage left: the digest of its rows is known."""

    def make(self) -> Path:
        path = base_models.make_base(self.folder).database_path
        self.digest = digest_of(path)
        return path

    def read(self) -> object:
        path = self.folder / "database.db"
        if digest_of(path) == self.digest:
            databases.check(path)
            return databases.photo_names(path)
        databases.check(path)
        databases.photo_names(path)
        databases.copy_database(path, self.folder / "copy.db")
        databases.check(self.folder / "copy.db")
        raise ValueError("other rows")


class ModelFile(Kind):
    """A file of a model, all of which have a digest."""

    name = "points3D.bin"

    def make(self) -> Path:
        model = base_models.make_base(self.folder).model
        (self.model_dir,) = reconstruction.write_models([model], self.folder / "models")
        self.digest = digest_of(self.model_dir)
        return self.model_dir / self.name

    def read(self) -> object:
        check_model(self.model_dir)
        if digest_of(self.model_dir) != self.digest:
            raise ValueError("altered")
        return len(reconstruction.read_models(self.model_dir.parent, 2))


class ModelImages(ModelFile):
    name = "images.bin"


class ModelCameras(ModelFile):
    name = "cameras.bin"


class ModelFrames(ModelFile):
    name = "frames.bin"


class ModelRigs(ModelFile):
    name = "rigs.bin"


class ClipIndex(Kind):
    is_ours = False

    def make(self) -> Path:
        (self.folder / "clips" / "sub").mkdir(parents=True)
        for name in ("pan.mp4", "sub/back.mp4"):
            (self.folder / "clips" / name).touch()
        clips = ["pan.mp4", {"file": "sub/back.mp4", "backwards": True}]
        path = self.folder / "clips" / "clips.json"
        path.write_text(json.dumps([{"a": "a.jpg", "b": "b.jpg", "clips": clips}]))
        return path

    def read(self) -> object:
        found = index_clips(self.folder / "clips", PHOTOS)
        root = (self.folder / "clips").resolve()
        assert all(file.path.is_relative_to(root) for files in found.values() for file in files)
        return found


class Record(Kind):
    is_ours = False

    def make(self) -> Path:
        atomic_write_json(self.folder / "clip.json", record().to_json())
        return self.folder / "clip.json"

    def read(self) -> object:
        found = read_record(self.folder / "clip.json")
        assert found.cost_usd >= 0
        return repr(found)


class TaskNote(Kind):
    is_ours = False

    def make(self) -> Path:
        self.store = ClipStore(self.folder, PHOTOS)
        task = self.store.task("key", 0.5)
        task.write({"id": "123"})
        return task.path

    def read(self) -> object:
        task = ClipStore(self.folder, PHOTOS).task("key")
        spent_usd = ClipStore(self.folder, PHOTOS).spent_usd()
        assert spent_usd >= 0
        return repr((task.read(), task.estimate_usd, task.refusal))


class Prompts(Kind):
    is_ours = False

    def make(self) -> Path:
        prompts = [{"text": "a wall", "negative": "people"}, {"text": "a long wall"}]
        pair = {"a": "a.jpg", "b": "b.jpg", "captioner": "blip", "photos": ["x", "y"], "prompts": prompts}
        (self.folder / "prompts.json").write_text(json.dumps({"format": 1, "pairs": [pair]}))
        return self.folder / "prompts.json"

    def read(self) -> object:
        return read_prompt_file(self.folder / "prompts.json")


class PairList(Kind):
    is_ours = False

    def make(self) -> Path:
        (self.folder / "pairs.txt").write_text("# pairs\na.jpg b.jpg\n\nb.jpg sub/c.jpg\n")
        return self.folder / "pairs.txt"

    def read(self) -> object:
        return read_pair_file(self.folder / "pairs.txt", PHOTOS)


class ReportFile(Kind):
    """With the page that is made of it, whose texts may be anything and whose elements may not."""

    is_ours = False

    def make(self) -> Path:
        return write_run(self.folder / "run", plain_names(4), size_px=(64, 48)) / "report.json"

    def read(self) -> object:
        root = self.folder / "run"
        found = read_report(root / "report.json")
        html = make_page(PageSource(found, (), root / "images", root)).html
        assert html.count("<script") == 3
        return repr(found)


KINDS: tuple[type[Kind], ...] = (
    *(Ledger, Stages, Marker, FeatureFile, MatchFile, HypothesisFile, DatabaseFile),
    *(ModelFile, ModelImages, ModelCameras, ModelFrames, ModelRigs),
    *(ClipIndex, Record, TaskNote, Prompts, PairList, ReportFile),
)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_damage_is_read_as_it_was_or_refused(
    kind: type[Kind], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """No traceback, no hang, no memory, nothing written or removed outside, no wrong result."""
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "home").mkdir()
    one = kind(tmp_path / "home")
    path = one.make()
    whole = path.read_bytes()
    keep = shutil.copytree(one.folder, tmp_path / "keep")
    expected = one.read()
    is_json = path.suffix == ".json" or path.name == ".interpose_sfm"
    rng = random.Random(f"{SEED} {kind.__name__}")
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {"the same": 0, "refused": 0, "other": 0}
    for number in range(NUMBER):
        for entry in one.folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        shutil.copytree(keep, one.folder, dirs_exist_ok=True)
        is_forged = is_json and rng.random() < 0.6
        if is_forged:
            document = mutated_json(json.loads(whole), rng)
            content = json_bytes(one.forge(document) if rng.random() < 0.8 else document, rng)
        else:
            content = mutated_bytes(whole, rng)
        path.write_bytes(content)
        case = f"mutation {number} of {kind.__name__}, FUZZ_SEED={SEED}: {content[:300]!r}"
        start, message = time.monotonic(), "read"
        try:
            found = one.read()
        except ValueError as error:
            found, message = None, str(error)
        except Exception as error:
            raise AssertionError(case) from error
        assert message, case
        if message != "read" or found in one.refused:
            outcome = "refused"
        else:
            outcome = "the same" if found == expected else "other"
        assert time.monotonic() - start < MAX_S, case
        assert (tmp_path / "victim").read_text() == "precious", case
        assert sorted(os.listdir(tmp_path)) == ["home", "keep", "victim"], case
        # A forged document has the right check, and may say anything that has the right form.
        assert outcome != "other" or is_forged or not one.is_ours, case
        outcomes[outcome] += 1
    record_property("cases", NUMBER)
    assert outcomes["refused"] > NUMBER // 10, outcomes  # the mutations are of the kind that matters
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < MAX_GROWTH_KIB


def test_a_damaged_sample_is_rendered_again(small_sample: SampleTruth, tmp_path: Path) -> None:
    path = shutil.copytree(small_sample.folder, tmp_path / "sample") / "truth.json"
    whole, rng = path.read_bytes(), random.Random(SEED)
    for number in range(NUMBER):
        document = mutated_json(json.loads(whole), rng)
        path.write_bytes(json_bytes(document, rng) if number % 2 else mutated_bytes(whole, rng))
        with contextlib.suppress(ValueError):
            read_sample(path.parent)
