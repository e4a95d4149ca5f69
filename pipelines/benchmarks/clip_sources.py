"""Where the clips of a benchmark's pairs come from. Each source is a way of its own in the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks import ideal_clips
from benchmarks.pair_rule import BenchmarkPair
from benchmarks.scenes import Scene, natural_key
from interpose_sfm.storage.content_keys import content_key, file_sha256

NO_CLIPS = "none"


class ClipSource(Protocol):
    """Clips of one kind."""

    @property
    def name(self) -> str:
        """Of the way in the tables."""
        ...

    def has(self, pair: BenchmarkPair) -> bool:
        """Whether the pair is to be studied in this way."""
        ...

    def key(self, pair: BenchmarkPair) -> str:
        """Of the content of its clips."""
        ...

    def lay_out(self, pair: BenchmarkPair, folder: Path) -> Path | None:
        """A folder with clips named ``a__b_N``, in ``folder`` if they have to be made; None for no clips."""
        ...


@dataclass(frozen=True)
class NoClips:
    """The pair alone."""

    name: str = NO_CLIPS

    def has(self, pair: BenchmarkPair) -> bool:
        """Every pair."""
        return True

    def key(self, pair: BenchmarkPair) -> str:
        """Nothing is in it."""
        return ""

    def lay_out(self, pair: BenchmarkPair, folder: Path) -> Path | None:
        """No folder."""
        return None


@dataclass(frozen=True)
class ClipFolder:
    """Clips on disk, of a video model or a service: ``FOLDER/PAIR/a__b_N.mp4`` as ``--make-clips`` leaves them.

    Attributes:
        folder: Of one video model, whose name it has.
        slugs: Folder names of the benchmark's pairs; those without clips are left out.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    def has(self, pair: BenchmarkPair) -> bool:
        """Pairs that have a folder of clips."""
        return (self.folder / pair.slug).is_dir()

    def key(self, pair: BenchmarkPair) -> str:
        """Of all files."""
        return folder_key(self.folder / pair.slug, "*")

    def lay_out(self, pair: BenchmarkPair, folder: Path) -> Path | None:
        """The folder as it is."""
        return self.folder / pair.slug


@dataclass(frozen=True)
class IdealClips:
    """Clips made of the photos between A and B.

    Attributes:
        name: A kind of `ideal_clips`, or `ideal_clips.ALL`.
        scenes: Name -> scene, whose photos are in order of capture.
        pairs: Names of the pairs that are studied in this way; None for all.
    """

    name: str
    scenes: Mapping[str, Scene]
    pairs: frozenset[str] | None = None

    def has(self, pair: BenchmarkPair) -> bool:
        """The pairs chosen for it."""
        return self.pairs is None or pair.name in self.pairs

    def key(self, pair: BenchmarkPair) -> str:
        """Of all photos that it is made of."""
        between, others = self._photos(pair)
        used = (*between, *(others[: len(between)] if set(self.kinds) & set(ideal_clips.WITH_OTHERS) else ()))
        return content_key(self.kinds, ideal_clips.MAX_FRAME_PX, [file_sha256(path) for path in used])

    def lay_out(self, pair: BenchmarkPair, folder: Path) -> Path | None:
        """A clip of each kind."""
        between, others = self._photos(pair)
        for kind in self.kinds:
            ideal_clips.write_clip(folder, ideal_clips.KINDS.index(kind), kind, between, others)
        return folder

    @property
    def kinds(self) -> tuple[str, ...]:
        """What clips a pair has."""
        return ideal_clips.KINDS if self.name == ideal_clips.ALL else (self.name,)

    def _photos(self, pair: BenchmarkPair) -> tuple[list[Path], list[Path]]:
        """From A to B, and those of the next other scene in name order."""
        names = sorted(self.scenes)
        other = names[(names.index(pair.scene) + 1) % len(names)]
        photos = [photo.name for photo in self.scenes[pair.scene].photos]
        first, last = photos.index(pair.a), photos.index(pair.b)
        between = [photo.path for photo in self.scenes[pair.scene].photos[first : last + 1]]
        return between, [photo.path for photo in self.scenes[other].photos]


@dataclass(frozen=True)
class PageVideos:
    """Videos that the authors of InterPose show: ``DATASET/EXAMPLE/MODEL_V_ab.mp4``, ``ba`` for those from B to A.

    Attributes:
        name: The video model.
        data: Folder of the data sets.
    """

    name: str
    data: Path

    def has(self, pair: BenchmarkPair) -> bool:
        """Pairs with videos of the model."""
        return any((self.data / pair.name).glob(f"{self.name}_*.mp4"))

    def key(self, pair: BenchmarkPair) -> str:
        """Of the model's videos."""
        return folder_key(self.data / pair.name, f"{self.name}_*.mp4")

    def lay_out(self, pair: BenchmarkPair, folder: Path) -> Path | None:
        """Links to them under the names that say which way they run."""
        for video in sorted((self.data / pair.name).glob(f"{self.name}_*.mp4")):
            _, index, order = video.stem.split("_")
            ends = ("a", "b") if order == "ab" else ("b", "a")
            (folder / f"{ends[0]}__{ends[1]}_{index}.mp4").symlink_to(video.resolve())
        return folder


def folder_key(folder: Path, pattern: str) -> str:
    """Of the names and contents of files in a folder."""
    files = sorted((path for path in folder.rglob(pattern) if path.is_file()), key=lambda path: natural_key(path.name))
    return content_key([(path.relative_to(folder).as_posix(), file_sha256(path)) for path in files])


def no_pair_has_clips(sources: Sequence[ClipSource], pairs: Sequence[BenchmarkPair]) -> bool:
    """Whether there is nothing to study."""
    return not any(source.has(pair) for source in sources for pair in pairs)
