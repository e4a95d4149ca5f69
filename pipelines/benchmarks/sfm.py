"""Reconstructions of a data set's sets of photos, scored as the field does: AUC at 1, 3, 5 and 20, registered share."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pycolmap
from PIL import Image, ImageOps

from benchmarks.rows import is_current
from benchmarks.scenes import Scene, ScenePhoto, header_of
from benchmarks.study import Row
from interpose_sfm import geometry
from interpose_sfm.products import Pose
from interpose_sfm.storage.atomic import atomic_write_json
from interpose_sfm.storage.content_keys import content_key, file_sha256
from interpose_sfm.synthetic.scoring import auc, pose_errors_deg

AUC_DEG = (1, 3, 5, 20)
WAYS = ("plain", "default")
SFM_KEY = "registered"
_RUNNER = Path(__file__).resolve().parent.parent / "places.py"  # runs one way of one folder in a process of its own
_ALL = "all"
_JPEG_QUALITY = 98  # of copies


@dataclass(frozen=True)
class SfmJob:
    """One set of photos, reconstructed in one way.

    Attributes:
        scene, name: Of the set.
        photos: In it.
        way: ``plain`` pycolmap, or ``default``, this package.
    """

    scene: str
    name: str
    photos: tuple[ScenePhoto, ...]
    way: str

    @property
    def file_name(self) -> str:
        """Of its row."""
        return f"sfm_{self.scene.replace('/', '_')}_{self.name}_{self.way}.json"

    @property
    def inputs(self) -> str:
        """Key of what its row depends on."""
        return content_key(self.way, [(photo.name, file_sha256(photo.path)) for photo in self.photos])

    @property
    def truth(self) -> str:
        """Key of the true poses that its row is held against."""
        return content_key([(photo.name, photo.cam_from_world) for photo in self.photos])


def sfm_jobs(scenes: Iterable[Scene], ways: Sequence[str] = WAYS) -> list[SfmJob]:
    """All sets of all scenes in all ways; a scene without sets is one of all its photos."""
    jobs = []
    for scene in scenes:
        known = {photo.name: photo for photo in scene.photos}
        sets: Mapping[str, Sequence[str]] = scene.sets or ({_ALL: tuple(known)} if known else {})
        for name, names in sets.items():
            jobs += [SfmJob(scene.name, name, tuple(known[one] for one in names), way) for way in ways]
    return jobs


def run_sfm(jobs: Iterable[SfmJob], work: Path) -> Iterator[Row]:
    """Make the rows that are not there yet, and yield each of these."""
    (work / "rows").mkdir(parents=True, exist_ok=True)
    for job in jobs:
        path = work / "rows" / job.file_name
        inputs = job.inputs
        if path.is_file() and is_current(path, inputs, job.truth):
            continue
        row = reconstructed(job) | {"inputs": inputs, "truth": job.truth}
        atomic_write_json(path, row)
        yield row


def reconstructed(job: SfmJob) -> Row:
    """The row of a set: its largest model against the truth; pairs with a missing photo count as 180 degrees."""
    row: Row = {"pair": f"{job.scene}/{job.name}", "model": job.way, "total": len(job.photos)}
    with TemporaryDirectory(prefix="benchmark-sfm-") as folder:
        photos, output = Path(folder) / "photos", Path(folder) / "out"
        photos.mkdir()
        names = {lay_out(photo.path, photos / f"{index:05d}"): photo for index, photo in enumerate(job.photos)}
        start = time.monotonic()
        command = [sys.executable, str(_RUNNER), "--one", job.way, str(photos), str(output)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = round(time.monotonic() - start, 1)
        if "Traceback" in done.stderr or done.returncode not in (0, 1):  # 1 says that there is no model: a result
            return row | {SFM_KEY: 0, "error": (done.stderr.strip() or "failed").splitlines()[-1]}
        truth = {name: photo.cam_from_world for name, photo in names.items()}
        estimate = poses_of(output / "sparse" / "0")
        shutil.rmtree(output, ignore_errors=True)
    return row | scores(truth, estimate) | {"seconds": seconds}


def lay_out(photo: Path, target: Path) -> str:
    """A link to a photo, or an upright copy where EXIF turns it: plain pycolmap takes pixels as they are stored.

    Args:
        photo: The file.
        target: Where to, without an extension.

    Returns:
        The name.
    """
    if header_of(photo).orientation == 1:
        path = target.with_suffix(photo.suffix.lower())
        path.symlink_to(photo.resolve())
        return path.name
    path = target.with_suffix(".jpg")
    with Image.open(photo) as image:
        turned = ImageOps.exif_transpose(image)
        turned.convert("RGB").save(path, quality=_JPEG_QUALITY, subsampling=0, exif=turned.getexif())
    return path.name


def scores(truth: Mapping[str, Pose], estimate: Mapping[str, Pose]) -> Row:
    """Registered photos, and AUC in percent over all pairs."""
    errors_deg = pose_errors_deg(truth, estimate)
    aucs = {f"auc{limit}": round(auc(errors_deg, limit), 1) if len(errors_deg) else None for limit in AUC_DEG}
    return {SFM_KEY: sum(name in estimate for name in truth), **aucs}


def poses_of(model: Path) -> dict[str, Pose]:
    """cam_from_world of the photos of a model; nothing where there is none."""
    if not model.is_dir():
        return {}
    images = pycolmap.Reconstruction(model).images.values()
    return {image.name: geometry.from_rigid3d(image.cam_from_world()) for image in images if image.has_pose}


def sfm_lines(rows: Sequence[Row]) -> list[str]:
    """A line per set and way, and the means over all sets."""
    keys = [f"auc{limit}" for limit in AUC_DEG]
    lines = [
        f"| set | way | registered | {' | '.join(f'AUC@{limit}' for limit in AUC_DEG)} |",
        "|---|---|---|" + "---|" * len(keys),
    ]
    scored = [row for row in rows if "error" not in row]
    for row in rows:
        if "error" in row:
            lines.append(
                f"| {row['pair']} | {row['model']} | could not be run: {row['error']} | {' | ' * (len(keys) - 1)} |"
            )
        else:
            cells = " | ".join("-" if row[key] is None else f"{row[key]:.1f}" for key in keys)
            lines.append(f"| {row['pair']} | {row['model']} | {row[SFM_KEY]} of {row['total']} | {cells} |")
    for way in sorted({row["model"] for row in scored}):
        mine = [row for row in scored if row["model"] == way]
        values = [[row[key] for row in mine if row[key] is not None] for key in keys]
        cells = " | ".join(f"{sum(found) / len(found):.1f}" if found else "-" for found in values)
        share = 100 * sum(row[SFM_KEY] for row in mine) / max(sum(row["total"] for row in mine), 1)
        lines.append(f"| **mean of {len(mine)} sets** | {way} | {share:.0f} % | {cells} |")
    return lines


def sfm_means(rows: Sequence[Row], way: str) -> str:
    """Mean areas of a way over all sets that could be run, as one cell."""
    mine = [row for row in rows if row["model"] == way and row.get("auc1") is not None]
    if not mine:
        return "not run"
    values = [sum(row[f"auc{limit}"] for row in mine) / len(mine) for limit in AUC_DEG]
    return f"AUC@{'/'.join(map(str, AUC_DEG))} {' / '.join(f'{value:.1f}' for value in values)} ({len(mine)} sets)"
