"""Sparse subsets of Strecha's benchmark: this package against plain pycolmap and unchecked learned matching.

Runs every subset in several ways, each in a process of its own so that the times are those a user sees:

* ``plain``: pycolmap SIFT, exhaustive matching, incremental mapping (what the base stage does, without this package);
* ``learned``: ALIKED + LightGlue on all pairs, verified and mapped by pycolmap, without our checks;
* ``no bridging``: this package without bridging clips;
* ``default``: this package with its default options;
* ``clips``: this package, the left-out photos as clips between neighbours (``--clips``), on the subsets where COLMAP
  leaves a gap that photos could fill: what a perfect video model would give.

and writes a table of the scores of the largest model to ``docs/results/strecha_sparse.md``.

Usage: python pipelines/strecha_sparse.py [--data DIR] [--score SCRIPT] [--subsets NAME ...] [--ways WAY ...] [--keep]

The data folder holds ``strecha/subsets.json`` (default: $INTERPOSE_SFM_DATA, else ../shared/data); the score script
takes SUBSET MODEL_DIR and prints one JSON line (default: ../shared/eval/score_model.py).
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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "strecha_sparse.md"
ROWS = ROOT / "docs" / "results" / "strecha_sparse.json"
SEED = 0
WAYS = ("plain", "learned", "no bridging", "default", "clips")
CLIP_SUBSETS = ("castle-P30_s4", "castle-P30_s5")
SUBSETS = (
    "castle-P30_s1",
    "castle-P30_s3",
    "castle-P30_s4",
    "castle-P30_s5",
    "fountain-P11_s2",
    "fountain-P11_s3",
    "fountain-P11_s5",
    "Herz-Jesus-P8_s1",
    "Herz-Jesus-P8_s2",
    "Herz-Jesus-P8_s3",
)


def main() -> int:
    """Run all that is asked for and write the table."""
    arguments = parse_arguments()
    rows = known_rows(arguments)
    for subset in arguments.subsets:
        with tempfile.TemporaryDirectory(prefix="strecha-") as folder:
            photos = link_photos(arguments.data, subset, Path(folder) / "photos")
            link_clips(arguments.data, subset, Path(folder) / "left_out")
            for way in arguments.ways:
                if not is_of_use(subset, way):
                    continue
                output = Path(folder) / way.replace(" ", "_")
                start = time.monotonic()
                run([sys.executable, __file__, "--one", way, str(photos), str(output)])
                seconds = time.monotonic() - start
                rows = [r for r in rows if (r["subset"], r["way"]) != (subset, way)]
                row: dict[str, object] = {
                    "subset": subset,
                    "way": way,
                    "seconds": seconds,
                    **score(arguments, subset, output),
                }
                rows.append(row)
                print(json.dumps(row), flush=True)
        rows.sort(key=lambda r: (SUBSETS.index(str(r["subset"])), WAYS.index(str(r["way"]))))
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        ROWS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        RESULT.write_text(document(rows), encoding="utf-8")
    return 0


def is_of_use(subset: str, way: str) -> bool:
    """Clips where there is a gap to close; learned matching of everything where it does not take half an hour."""
    return subset in CLIP_SUBSETS if way == "clips" else (subset, way) != ("castle-P30_s1", "learned")


def known_rows(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Rows of earlier runs, when only some subsets or ways are run anew."""
    if arguments.keep and ROWS.is_file():
        return list(json.loads(ROWS.read_text(encoding="utf-8")))
    return []


def parse_arguments() -> argparse.Namespace:
    """Command line, with paths that hold in a checkout beside its data."""
    data = Path(os.environ.get("INTERPOSE_SFM_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--score", type=Path, default=ROOT.parent / "shared" / "eval" / "score_model.py")
    parser.add_argument("--subsets", nargs="+", default=list(SUBSETS), choices=SUBSETS)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--keep", action="store_true", help="keep the other rows of the last table")
    arguments = parser.parse_args()
    if not (arguments.data / "strecha" / "subsets.json").is_file():
        parser.error(f"{arguments.data} does not hold strecha/subsets.json; name the data folder with --data")
    return arguments


def link_photos(data: Path, subset: str, folder: Path) -> Path:
    """A folder with links to the photos of a subset."""
    known = json.loads((data / "strecha" / "subsets.json").read_text())[subset]
    folder.mkdir(parents=True)
    for name in known["images"]:
        (folder / name).symlink_to((data / "strecha" / known["scene"] / "images" / name).resolve())
    return folder


def link_clips(data: Path, subset: str, folder: Path) -> None:
    """Folders of frames between neighbouring photos of a subset: these two and the photos left out between them."""
    known = json.loads((data / "strecha" / "subsets.json").read_text())[subset]
    images = data / "strecha" / known["scene"] / "images"
    everything = sorted(path.name for path in images.iterdir())
    for a, b in zip(known["images"], known["images"][1:], strict=False):
        clip = folder / f"{Path(a).stem}__{Path(b).stem}"
        clip.mkdir(parents=True)
        for name in everything[everything.index(a) : everything.index(b) + 1]:
            (clip / name).symlink_to((images / name).resolve())


def run(command: list[str]) -> None:
    """Run a command, its output shown only if it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    no_model = done.returncode == 1 and "Traceback" not in done.stderr  # which is a result
    if done.returncode != 0 and not no_model:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")


def score(arguments: argparse.Namespace, subset: str, output: Path) -> dict[str, object]:
    """Score of the largest model, and whether any registered pair is wrong; zeros without a model."""
    model = output / "sparse" / "0"
    report_path = output / "report.json"
    extra: dict[str, object] = {}
    if report_path.is_file():
        report = json.loads(report_path.read_text())
        verdicts = [pair["verdict"] for pair in report["pairs"]]
        extra = {"accepted": verdicts.count("accepted"), "weak": len(verdicts)}
        extra["bridged"] = sum(len(pair["tried"]) > 1 for pair in report["pairs"])
    if not model.is_dir():
        return {"registered": 0, "auc5": 0.0, "auc10": 0.0, "auc30": 0.0, "max_rotation_deg": None, **extra}
    command = [sys.executable, str(arguments.score), subset, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {**json.loads(done.stdout), **extra}


# ---------------------------------------------------------------- the ways


def run_one(way: str, photos: Path, output: Path) -> int:
    """One way of reconstructing a folder, in a process of its own; the models go to ``output``/sparse."""
    if way == "plain":
        return run_plain(photos, output)
    if way == "learned":
        return run_learned(photos, output)
    from interpose_sfm.cli.main import main as command_line

    extra = {"no bridging": ["--generator", "none"], "clips": ["--clips", str(output.parent / "left_out")]}.get(way, [])
    return command_line(["reconstruct", str(photos), "--output", str(output), "--seed", str(SEED), "-q", *extra])


def run_plain(photos: Path, output: Path) -> int:
    """What a user of pycolmap writes."""
    import pycolmap

    output.mkdir(parents=True)
    database = output / "database.db"
    pycolmap.extract_features(database, photos, camera_mode=pycolmap.CameraMode.SINGLE)
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
            found = matcher.match(features[a.image_id], features[b.image_id])
            database.write_matches(a.image_id, b.image_id, found.above(options.min_match_score).indices)
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


# ---------------------------------------------------------------- the document


def document(rows: list[dict[str, object]]) -> str:
    """The result as Markdown."""
    from interpose_sfm.report import versions

    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# Sparse subsets of Strecha's benchmark",
        "",
        "Made by `python pipelines/strecha_sparse.py`. Scores are those of the largest model over all pairs of the",
        "subset; a pair with an unregistered photo counts as 180 degrees. Times are those of whole processes, run one",
        "after another on the same machine; read them as ratios to `plain` in the same subset.",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}. Seed {SEED}. Versions: {names}.",
        "",
        "| subset | way | registered | AUC@5 | AUC@10 | AUC@30 | largest rotation error (deg) | links accepted / weak "
        "pairs | bridged | time / plain |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    plain = {row["subset"]: row["seconds"] for row in rows if row["way"] == "plain"}
    for row in rows:
        base = plain.get(row["subset"])
        ratio = f"{float(str(row['seconds'])) / float(str(base)):.2f}" if base else ""
        links = f"{row['accepted']} / {row['weak']}" if "accepted" in row else ""
        lines.append(
            f"| {row['subset']} | {row['way']} | {row['registered']} | {row['auc5']} | {row['auc10']} | "
            f"{row['auc30']} | {row['max_rotation_deg']} | {links} | {row.get('bridged', '')} | {ratio} |"
        )
    closing = (
        "`learned` is left out on castle-P30_s1, whose 435 pairs would all be matched although nothing is weak there.\n"
        "`clips` is run where photos were left out that close the gap.\n"
        "`bridged` counts the weak pairs for which clips were made. What the built-in `morph` generator adds is the\n"
        "difference between `default` and `no bridging` of one subset."
    )
    return "\n".join([*lines, "", closing, ""])


if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[1] == "--one":
        sys.exit(run_one(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])))
    sys.exit(main())
