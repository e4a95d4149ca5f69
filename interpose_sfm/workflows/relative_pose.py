"""The relative pose of two photos: the paper's task, without a reconstruction around it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from interpose_sfm.bridging.factory import NO_BRIDGING
from interpose_sfm.colmap import databases
from interpose_sfm.colmap.cameras import import_cameras
from interpose_sfm.matching.cache import PhotoViews
from interpose_sfm.options import CameraMode, ReconstructOptions
from interpose_sfm.pairs.pair_pose import PairPoser
from interpose_sfm.pairs.records import PairRecord
from interpose_sfm.photos import collect, masks
from interpose_sfm.products import (
    CLIP_STORE,
    Evidence,
    ImagePair,
    Intrinsics,
    LinkVerdict,
    Pose,
    PoseChoice,
    WeakPair,
)
from interpose_sfm.run_log import Progress
from interpose_sfm.workflows.posers import opened_posers
from interpose_sfm.workflows.start_checks import check_options


@dataclass(frozen=True)
class RelativePoseResult:
    """What :func:`relative_pose` says of two photos.

    Attributes:
        pair: File names of the photos; where these are the same, the paths.
        verdict: ACCEPTED, or why the pose is not to be trusted.
        detail: One sentence with the figures behind it.
        b_from_a: Rotation and unit translation, zero for a pure rotation; None where there is none. Refusals keep
            their pose, for what it is worth.
        spread_deg: One-sigma uncertainty, 180 without a pose.
        choice: Outcome of the self-consistency stage, None where the pair alone sufficed.
        evidence: Cues of the matches, of the weakest step where clips were used.
        tried: What was tried, in order.
        cameras: Of A and B, for which the pose holds: with the focal lengths of EXIF, or those that matches or clips
            tell. Their size is that of the photo, upright. Where nothing tells the focal length it is the guess.
    """

    pair: ImagePair
    verdict: LinkVerdict
    detail: str
    b_from_a: Pose | None
    spread_deg: float
    choice: PoseChoice | None
    evidence: Evidence | None
    tried: tuple[str, ...]
    cameras: tuple[Intrinsics, Intrinsics]


def relative_pose(
    path_a: Path, path_b: Path, options: ReconstructOptions | None = None, progress: Progress | None = None
) -> RelativePoseResult:
    """The relative pose of two photos, over bridging clips where the pair alone does not suffice.

    Nothing is left on disk but clips that a video model made, in a folder beside A unless the options name another.

    Args:
        path_a, path_b: Two image files. Their focal lengths come from EXIF; without it from their own matches, if these
            tell it, or the clips, if these agree; else COLMAP's guess of 1.2 times the longer side is used.
        options: All options; those of COLMAP's stages are not used.
        progress: Called with the stage, what is done and the total.

    Raises:
        ValueError: A file that is no usable photo, or twice the same.
    """
    options = options or ReconstructOptions()
    check_options(options)
    with opened_pair(path_a, path_b, options, progress) as (poser, pair):
        result = _solve(poser, pair, options, progress)
    if Path(path_a).name == Path(path_b).name:  # the pair has them in folders of its own
        result = replace(result, pair=ImagePair(str(path_a), str(path_b)))
    return result


@contextmanager
def opened_pair(
    path_a: Path,
    path_b: Path,
    options: ReconstructOptions,
    progress: Progress | None = None,
    store_dir: Path | None = None,
) -> Iterator[tuple[PairPoser, ImagePair]]:
    """What `relative_pose` works with: the poser of two photos, and their pair.

    Args:
        path_a, path_b, options, progress: See `relative_pose`.
        store_dir: Folder that keeps features, matches and hypotheses for another run; None to forget them.

    Raises:
        ValueError: A file that is no usable photo, or twice the same.
    """
    with TemporaryDirectory(prefix="interpose_sfm-") as folder:
        root = Path(folder)
        pair = _copy_photos((Path(path_a), Path(path_b)), root / "photos")
        given = {pair.a: str(path_a), pair.b: str(path_b)}
        photo_set = collect.collect_photos(root / "photos", root / "run" / "images", options.photos)
        if len(photo_set.photos) != 2:
            told = [(given.get(f.name, f.name), f.why) for f in photo_set.skipped]
            told = [(name, why.replace(f" as {pair.a})", f" as {path_a})")) for name, why in told]
            left_out = "; ".join(f"{name}: {why}" for name, why in told)
            raise ValueError(f"expected two different photos, got {left_out}; hand in two usable image files")
        pair = ImagePair(photo_set.image_name(pair.a), photo_set.image_name(pair.b))
        database_path = root / "run" / "database.db"
        import_cameras(database_path, photo_set, CameraMode.PER_IMAGE, options.camera_model, options.camera_params)
        mask_dir = None
        if options.mask_path is not None:
            mask_dir = root / "run" / "masks"
            called = {pair.a: _mask_names(path_a, pair.a), pair.b: _mask_names(path_b, pair.b)}
            masks.lay_out_masks(options.mask_path, photo_set.photos, mask_dir, called)
        views = PhotoViews(photo_set.image_dir, databases.cameras(database_path), mask_dir)
        clips_dir = Path(path_a).absolute().parent / CLIP_STORE
        if store_dir is not None:
            store_dir.mkdir(parents=True, exist_ok=True)
        with opened_posers(store_dir or root / "run", (pair.a, pair.b), clips_dir, options, progress) as posers:
            yield posers.poser(views), pair


def _copy_photos(paths: tuple[Path, Path], folder: Path) -> ImagePair:
    """Copy both files side by side, in sub-folders where their names are the same."""
    for path in paths:
        if path.is_dir():
            raise ValueError(f"got the folder {path}, expected an image file; reconstruct takes folders")
        if not path.is_file():
            raise ValueError(f"there is no file {path}, expected an image file")
        if path.name.startswith("."):
            raise ValueError(f"got the hidden file {path}, expected a name that begins with no dot")
    names = [path.name for path in paths]
    if names[0] == names[1]:
        names = [f"a/{names[0]}", f"b/{names[1]}"]
    for name, path in zip(names, paths, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
    return ImagePair(*names)


def _mask_names(path: Path, image_name: str) -> tuple[str, ...]:
    """What a photo may be called in a folder of masks: its path, below whatever folder, most specific first."""
    file = Path(os.path.abspath(path))
    files = (file.with_name(PurePosixPath(image_name).name), file)
    return tuple("/".join(each.parts[start:]) for start in range(1, len(file.parts)) for each in files)


def _solve(
    poser: PairPoser, pair: ImagePair, options: ReconstructOptions, progress: Progress | None
) -> RelativePoseResult:
    def tell(stage: str, done: int) -> None:
        if progress is not None:
            progress(stage, done, 1)

    limits = options.consensus
    record, cameras = PairRecord(WeakPair(pair, (), 0)), poser.cameras(pair)
    tell("learned matching", 0)
    record = record.after(poser.findings_alone(pair), limits)
    tell("learned matching", 1)
    if _result(record, cameras).verdict is not LinkVerdict.ACCEPTED and poser.can_propose:
        tell("pose network", 0)
        record = record.after(replace(record.findings, proposed=poser.propose(pair)), limits)
        tell("pose network", 1)
    alone = _result(record, cameras)
    if alone.verdict is LinkVerdict.ACCEPTED or options.generator == NO_BRIDGING:
        return alone
    tell("bridging", 0)
    record = record.after(replace(record.findings, bridged=poser.bridge(pair)), limits)
    tell("bridging", 1)
    return _result(record, cameras)


def _result(record: PairRecord, cameras: tuple[Intrinsics, Intrinsics]) -> RelativePoseResult:
    """A record as the answer; a pure rotation is one here, though nothing can be triangulated from it."""
    matched, bridged = record.findings.matched, record.findings.bridged
    assert matched is not None
    choice = None if bridged is None else bridged.choice
    b_from_a, spread_deg = matched.two_view.b_from_a, matched.two_view.spread_deg
    evidence: Evidence | None = matched.two_view.evidence
    factor = record.findings.own_focal or 1.0
    clips_factor = 1.0 if bridged is None else bridged.focal_factor
    link = record.decision.link
    if link is not None:
        b_from_a, spread_deg, evidence = link.b_from_a, link.spread_deg, link.evidence
        if link is not matched.link:
            by_network = {found.link.source for found in record.findings.proposed or ()}  # for cameras as they are
            factor = 1.0 if link.source in by_network else clips_factor
    elif bridged is not None and bridged.choice.b_from_a is not None:
        b_from_a, spread_deg, evidence = bridged.choice.b_from_a, bridged.choice.spread_deg, None
        factor = clips_factor
    is_rotation = record.verdict is LinkVerdict.ROTATION_ONLY
    return RelativePoseResult(
        record.pair,
        LinkVerdict.ACCEPTED if is_rotation else record.verdict,
        record.decision.detail,
        b_from_a,
        spread_deg,
        choice,
        evidence,
        record.tried,
        (cameras[0].zoomed(factor), cameras[1].zoomed(factor)),
    )
