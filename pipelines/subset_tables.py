"""Subsets of photo collections reconstructed in several ways and scored: what `strecha_sparse` and `places` share.

Every way runs in a process of its own, so that the times are those a user sees. A subset is the list of photos that
``COLLECTION/subsets.json`` in the data folder names; a script that takes SUBSET MODEL_DIR and prints one JSON line
scores the largest model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
SEED = 0

Row = dict[str, object]


@dataclass(frozen=True)
class SubsetTable:
    """One document about the subsets of one collection.

    Attributes:
        script: The pipeline, which runs one way of one subset if its first argument is ``--one``.
        title: Of the document.
        closing: Its end.
        folder: Of the collection, in the data folder.
        subsets: In the order of the table.
        ways: In the order of the table.
        clip_subsets: Those for which the way ``clips`` is of use.
        left_out: (subset, way) that take too long for what they would show.
        is_paired: Whether plain is timed anew right before every other way, since machines are not always equally busy.
    """

    script: Path
    title: str
    closing: str
    folder: str
    subsets: Sequence[str]
    ways: Sequence[str]
    clip_subsets: Collection[str] = ()
    left_out: Collection[tuple[str, str]] = ()
    is_paired: bool = False

    @property
    def result(self) -> Path:
        """The document."""
        return RESULTS / f"{self.script.stem}.md"

    @property
    def rows(self) -> Path:
        """The figures that it is written from."""
        return RESULTS / f"{self.script.stem}.json"

    def main(self) -> int:
        """Run what the command line asks for: one way of one subset, or all of them and write the document."""
        if len(sys.argv) == 5 and sys.argv[1] == "--one":
            return run_one(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
        return self.run(self._arguments())

    def run(self, arguments: argparse.Namespace) -> int:
        """Run every way of every subset named, and write the document after each subset."""
        rows = self._known_rows(arguments)
        for subset in arguments.subsets:
            with tempfile.TemporaryDirectory(prefix="subset-") as folder:
                for row in self._rows_of(subset, arguments, Path(folder)):
                    rows = [r for r in rows if (r["subset"], r["way"]) != (subset, row["way"])]
                    rows.append(row)
            rows.sort(key=self._place)
            RESULTS.mkdir(parents=True, exist_ok=True)
            self.rows.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
            self.result.write_text(self.document(rows), encoding="utf-8")
        return 0

    def _place(self, row: Row) -> tuple[int, str, int]:
        """Of a row in the table; subsets that this run does not know (of a table that is kept) come last."""
        subset = str(row["subset"])
        known = self.subsets.index(subset) if subset in self.subsets else len(self.subsets)
        return known, subset, self.ways.index(str(row["way"]))

    def _rows_of(self, subset: str, arguments: argparse.Namespace, folder: Path) -> list[Row]:
        photos = link_photos(arguments.data / self.folder, subset, folder / "photos")
        link_clips(arguments.data / self.folder, subset, folder / "left_out")
        rows = []
        for way in arguments.ways:
            if (subset, way) in self.left_out or (way == "clips" and subset not in self.clip_subsets):
                continue
            row: Row = {"subset": subset, "way": way}
            if self.is_paired and way != "plain":
                row["plain_seconds"] = self._run("plain", photos, folder / f"plain_before_{way}")
            output = folder / way.replace(" ", "_")
            row["seconds"] = self._run(way, photos, output)
            row.update(self._score(arguments, subset, output))
            print(json.dumps(row), flush=True)
            rows.append(row)
        return rows

    def _run(self, way: str, photos: Path, output: Path) -> float:
        """Seconds that one way takes; its output is shown only if it fails."""
        command = [sys.executable, str(self.script), "--one", way, str(photos), str(output)]
        start = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - start
        no_model = done.returncode == 1 and "Traceback" not in done.stderr  # which is a result
        if done.returncode != 0 and not no_model:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
        return seconds

    def _score(self, arguments: argparse.Namespace, subset: str, output: Path) -> Row:
        """Score of the largest model, and whether any registered pair is wrong; zeros without a model."""
        model = output / "sparse" / "0"
        report_path = output / "report.json"
        extra: Row = {}
        if report_path.is_file():
            report = json.loads(report_path.read_text())
            verdicts = [pair["verdict"] for pair in report["pairs"]]
            extra = {"accepted": verdicts.count("accepted"), "weak": len(verdicts)}
            extra["bridged"] = sum(len(pair["tried"]) > 1 for pair in report["pairs"])
        if not model.is_dir():
            return {"registered": 0, "auc5": 0.0, "auc10": 0.0, "auc30": 0.0, "max_rotation_deg": None, **extra}
        command = [sys.executable, str(arguments.score), subset, str(model)]
        environment = {**os.environ, "STRECHA_DIR": str(arguments.data / self.folder)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return {**json.loads(done.stdout), **extra}

    # ------------------------------------------------------------ command line and document

    def _arguments(self) -> argparse.Namespace:
        """Command line, with paths that hold in a checkout beside its data."""
        data = Path(os.environ.get("INTERPOSE_SFM_DATA", ROOT.parent / "shared" / "data"))
        parser = argparse.ArgumentParser(description=self.title)
        parser.add_argument("--data", type=Path, default=data)
        parser.add_argument("--score", type=Path, default=ROOT.parent / "shared" / "eval" / "score_model.py")
        parser.add_argument("--subsets", nargs="+", default=list(self.subsets), choices=self.subsets)
        parser.add_argument("--ways", nargs="+", default=list(self.ways), choices=self.ways)
        parser.add_argument("--keep", action="store_true", help="keep the other rows of the last table")
        arguments = parser.parse_args()
        if not (arguments.data / self.folder / "subsets.json").is_file():
            parser.error(f"{arguments.data} does not hold {self.folder}/subsets.json; name the data folder with --data")
        return arguments

    def _known_rows(self, arguments: argparse.Namespace) -> list[Row]:
        """Rows of earlier runs, when only some subsets or ways are run anew."""
        if arguments.keep and self.rows.is_file():
            return list(json.loads(self.rows.read_text(encoding="utf-8")))
        return []

    def document(self, rows: Sequence[Row]) -> str:
        """The result as Markdown."""
        from interpose_sfm.report import versions

        names = ", ".join(f"{name} {version}" for name, version in versions().items())
        together = "each right after a run of `plain`" if self.is_paired else "one after another on the same machine"
        lines = [
            f"# {self.title}",
            "",
            f"Made by `python pipelines/{self.script.name}`. Scores are those of the largest model over all pairs of",
            "the subset; a pair with an unregistered photo counts as 180 degrees. Times are those of whole processes,",
            f"run {together}; read them as ratios to `plain` in the same subset.",
            "",
            f"Machine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}. Seed {SEED}.",
            f"Versions: {names}.",
            "",
            "| subset | way | registered | AUC@5 | AUC@10 | AUC@30 | largest rotation / direction error (deg) "
            "| links accepted / weak pairs | bridged | time / plain |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        plain = {row["subset"]: row["seconds"] for row in rows if row["way"] == "plain"}
        for row in rows:
            base = row.get("plain_seconds", plain.get(row["subset"]))
            ratio = f"{float(str(row['seconds'])) / float(str(base)):.2f}" if base else ""
            links = f"{row['accepted']} / {row['weak']}" if "accepted" in row else ""
            registered = " of ".join(str(row[k]) for k in ("registered", "total") if k in row)
            errors_deg = (row.get("max_rotation_deg"), row.get("max_direction_deg"))
            largest = " / ".join(str(error_deg) for error_deg in errors_deg if error_deg is not None)
            scores = " | ".join(str("" if row[k] is None else row[k]) for k in ("auc5", "auc10", "auc30"))
            lines.append(
                f"| {row['subset']} | {row['way']} | {registered} | {scores} | {largest} | "
                f"{links} | {row.get('bridged', '')} | {ratio} |"
            )
        return "\n".join([*lines, "", self.closing, ""])


# ---------------------------------------------------------------- photos


def link_photos(collection: Path, subset: str, folder: Path) -> Path:
    """A folder with links to the photos of a subset."""
    known = json.loads((collection / "subsets.json").read_text())[subset]
    folder.mkdir(parents=True)
    for name in known["images"]:
        (folder / name).symlink_to((collection / known["scene"] / "images" / name).resolve())
    return folder


def link_clips(collection: Path, subset: str, folder: Path) -> None:
    """Folders of frames between neighbouring photos of a subset: these two and the photos left out between them."""
    known = json.loads((collection / "subsets.json").read_text())[subset]
    images = collection / known["scene"] / "images"
    everything = sorted(path.name for path in images.iterdir())
    for a, b in zip(known["images"], known["images"][1:], strict=False):
        clip = folder / f"{Path(a).stem}__{Path(b).stem}"
        clip.mkdir(parents=True)
        for name in everything[everything.index(a) : everything.index(b) + 1]:
            (clip / name).symlink_to((images / name).resolve())


# ---------------------------------------------------------------- the ways


def run_one(way: str, photos: Path, output: Path) -> int:
    """One way of reconstructing a folder, in a process of its own; the models go to ``output``/sparse."""
    if way == "plain":
        return run_plain(photos, output)
    if way == "learned":
        return run_learned(photos, output)
    from interpose_sfm.cli.main import main as command_line

    extra = {
        "no bridging": ["--generator", "none"],
        "clips": ["--clips", str(output.parent / "left_out"), "--accept-unseen"],
    }.get(way, [])
    seed = str(SEED)
    if way.startswith("seed "):
        extra, seed = ["--generator", "none"], way.removeprefix("seed ")
    return command_line(["reconstruct", str(photos), "--output", str(output), "--seed", seed, "-q", *extra])


def run_plain(photos: Path, output: Path) -> int:
    """What a user of pycolmap writes: one camera for photos of one size, else cameras by EXIF."""
    import pycolmap

    output.mkdir(parents=True)
    database = output / "database.db"
    names = sorted(path.name for path in photos.iterdir())  # ids in another order may make another model
    sizes = set()
    for name in names:
        with Image.open(photos / name) as image:
            sizes.add(image.size)
    cameras = pycolmap.CameraMode.SINGLE if len(sizes) == 1 else pycolmap.CameraMode.AUTO
    pycolmap.Database.open(database).close()
    pycolmap.import_images(database, photos, camera_mode=cameras, image_names=names)
    pycolmap.extract_features(database, photos, names)
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = SEED
    pycolmap.match_exhaustive(database, verification_options=verification)
    return map_and_write(database, photos, output)


def run_learned(photos: Path, output: Path) -> int:
    """ALIKED + LightGlue in place of SIFT, on all pairs, believed as COLMAP believes SIFT."""
    from itertools import combinations

    import numpy as np
    import pycolmap

    from interpose_sfm.matching.lightglue import LearnedMatcher
    from interpose_sfm.options import MatchingOptions
    from interpose_sfm.photos.pictures import read_rgb

    output.mkdir(parents=True)
    database_path = output / "database.db"
    pycolmap.Database.open(database_path).close()
    pycolmap.import_images(database_path, photos, camera_mode=pycolmap.CameraMode.SINGLE)
    options = MatchingOptions()
    matcher = LearnedMatcher(options)
    with pycolmap.Database.open(database_path) as database:
        images = sorted(database.read_all_images(), key=lambda image: image.name)
        features = {image.image_id: matcher.extract(read_rgb(photos / image.name)) for image in images}
        for image_id, found in features.items():
            database.write_keypoints(image_id, found.keypoints_px.astype(np.float32))
        for a, b in combinations(images, 2):
            found = matcher.match(features[a.image_id], features[b.image_id]).above(options.min_match_score)
            database.write_matches(a.image_id, b.image_id, found.indices)
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = SEED
    pycolmap.geometric_verification(database_path, two_view_geometry_options=verification)
    return map_and_write(database_path, photos, output)


def map_and_write(database: Path, photos: Path, output: Path) -> int:
    """Incremental mapping with COLMAP's options but for the model size; the largest model first."""
    import pycolmap

    options = pycolmap.IncrementalPipelineOptions(min_model_size=3, random_seed=SEED)
    scratch = output / "scratch"
    scratch.mkdir()
    found = pycolmap.incremental_mapping(database, photos, scratch, options)
    models = sorted(found.values(), key=lambda model: -model.num_reg_images())
    for index, model in enumerate(models):
        (output / "sparse" / str(index)).mkdir(parents=True)
        model.write(output / "sparse" / str(index))
    shutil.rmtree(scratch)
    return 0 if models else 1
