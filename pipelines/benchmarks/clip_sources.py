"""Where the clips of a benchmark's pairs come from. Each source is a way of its own in the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from benchmarks import ideal_clips
from benchmarks.pair_rule import BenchmarkPair
from benchmarks.scenes import Scene
from benchmarks.study import SEED
from interpose_sfm.clips.files import VIDEO_SUFFIXES
from interpose_sfm.options import GenerationOptions, ReconstructOptions
from interpose_sfm.storage.content_keys import content_key, file_sha256
from interpose_sfm.workflows.make_clips import bridge_photos

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
    """Clips on disk, of one video model or service.

    Either in a folder per pair, ``PAIR/a__b_N.mp4``, or named by the content of the photos, ``X__Y_N.mp4``, as
    `make_clips` names them: X and Y are `photo_key` of A and B.

    Attributes:
        folder: Where they are; its name is that of the way.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    def has(self, pair: BenchmarkPair) -> bool:
        """Pairs that have clips."""
        return bool(self._clips(pair))

    def key(self, pair: BenchmarkPair) -> str:
        """Of all files."""
        return content_key([(name, files_key(path)) for name, path in sorted(self._clips(pair).items())])

    def lay_out(self, pair: BenchmarkPair, folder: Path) -> Path | None:
        """Links to them."""
        for name, path in self._clips(pair).items():
            (folder / name).symlink_to(path.resolve())
        return folder

    def _clips(self, pair: BenchmarkPair) -> dict[str, Path]:
        """Name as of photos a and b -> file, or folder of frames."""
        own = self.folder / pair.slug
        if own.is_dir():
            return {path.name: path for path in own.iterdir() if path.name.startswith(("a__b", "b__a"))}
        a, b = photo_key(pair.sha256_a), photo_key(pair.sha256_b)
        found = {}
        for first, last, start in ((a, b, "a__b"), (b, a, "b__a")):
            for path in self.folder.glob(f"{first}__{last}*"):
                if path.is_dir() or path.suffix in VIDEO_SUFFIXES:
                    found[start + path.name.removeprefix(f"{first}__{last}")] = path
        return found


def photo_key(sha256: str) -> str:
    """How a photo is called in a store of clips."""
    return sha256[:16]


def make_clips(
    pairs: Sequence[tuple[BenchmarkPair, tuple[Path, Path]]], store: Path, generator: str, max_cost: float | None
) -> None:
    """Let a video model make the clips that are missing, all in one go, so that it is loaded once.

    Args:
        pairs: Each with the paths of its photos.
        store: Folder of the clips.
        generator: As ``--generator`` of the package.
        max_cost: Dollars that a paid service may take; None refuses to spend.

    Raises:
        ValueError: No such model, or clips that cost more.
    """
    with TemporaryDirectory(prefix="benchmark-photos-") as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        names = []
        for pair, paths in pairs:
            named = [
                f"{photo_key(sha256)}{path.suffix.lower()}"
                for sha256, path in zip((pair.sha256_a, pair.sha256_b), paths, strict=True)
            ]
            for name, path in zip(named, paths, strict=True):
                if not (photos / name).exists():
                    (photos / name).symlink_to(path.resolve())
            names.append((named[0], named[1]))
        options = ReconstructOptions(
            generator=generator, seed=SEED, generation=GenerationOptions(clip_store=store, max_cost=max_cost)
        )
        bridge_photos(photos, Path(folder) / "run", options, names)


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
        videos = sorted((self.data / pair.name).glob(f"{self.name}_*.mp4"))
        return content_key([(path.name, file_sha256(path)) for path in videos])

    def lay_out(self, pair: BenchmarkPair, folder: Path) -> Path | None:
        """Links to them under the names that say which way they run."""
        for video in sorted((self.data / pair.name).glob(f"{self.name}_*.mp4")):
            _, index, order = video.stem.split("_")
            ends = ("a", "b") if order == "ab" else ("b", "a")
            (folder / f"{ends[0]}__{ends[1]}_{index}.mp4").symlink_to(video.resolve())
        return folder


def files_key(path: Path) -> str:
    """Of a file, or of the names and contents of all files in a folder."""
    if path.is_file():
        return file_sha256(path)
    return content_key([(one.relative_to(path).as_posix(), file_sha256(one)) for one in sorted(path.rglob("*"))])
