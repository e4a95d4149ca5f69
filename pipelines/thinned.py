"""Any collections of photos, thinned out: this package against plain pycolmap, measured by the model of all photos.

For folders of photos that overlap well. Plain pycolmap's largest model of all photos of a folder is the truth for its
subsets: every second, third, fourth, sixth and eighth photo in the order of their names, of which plain pycolmap and
this package reconstruct what they can. So anybody can measure, on photos of their own kind, what the package adds and
whether it puts a photo in a wrong place. The table goes to ``docs/results/thinned.md``, which ends with
``thinned_notes.md`` from the same folder: where the collections come from.

What the truth is worth: it is a model of COLMAP's own, good to a degree or so; where it is folded or bent, so is the
truth. Photos that it lacks are left out of the subsets. Nothing can be better than 100 percent of what plain pycolmap
finds with all photos. Photos are shrunk to 1600 pixels on the longer side, to save time.

Usage: python pipelines/thinned.py FOLDER [FOLDER ...] [--work DIR] [--every K ...] [--ways WAY ...] [--keep]

A folder is called by its name, or by that of the folder above it if it is called ``images``. ``--work`` keeps the
models of all photos for another run. The score script is that of ``places.py``.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pycolmap
from PIL import ExifTags, Image, ImageOps

from subset_tables import ROOT, SubsetTable, run_plain

FOLDER = "thinned"
EVERY = (2, 3, 4, 6, 8)
FEWEST_PHOTOS = 3
MAX_SIZE_PX = 1600  # so that a dozen collections take hours, not days
PICTURES = (".jpg", ".jpeg", ".png")
NOTES = ROOT / "docs" / "results" / "thinned_notes.md"
CLOSING = """\
The truth is plain pycolmap's largest model of all photos of the collection, of which `_s3` is every third. Photos are
shrunk to 1600 pixels on the longer side."""


def collection_name(folder: Path) -> str:
    """What the table calls a folder of photos."""
    return folder.parent.name if folder.name == "images" else folder.name


def in_order(names: Sequence[str]) -> list[str]:
    """Names by the numbers in them, so that 9 comes before 10."""
    return sorted(names, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])


def prepare(folder: Path, work: Path, every: Sequence[int]) -> list[str]:
    """Lay out one collection like those of the data folder, with its subsets; returns their names."""
    name = collection_name(folder)
    scene = work / FOLDER / name
    scene.mkdir(parents=True, exist_ok=True)
    if not (scene / "cameras.json").is_file():
        (scene / "images").mkdir(exist_ok=True)
        for path in folder.iterdir():
            if path.suffix.lower() in PICTURES:
                shrink(path, scene / "images" / path.name)
        with tempfile.TemporaryDirectory(prefix="all-photos-") as output:
            run_plain(scene / "images", Path(output) / "plain")
            cameras = cameras_of(Path(output) / "plain" / "sparse" / "0")
        (scene / "cameras.json").write_text(json.dumps(cameras))
    known = in_order(list(json.loads((scene / "cameras.json").read_text())))
    subsets_file = work / FOLDER / "subsets.json"
    subsets = json.loads(subsets_file.read_text()) if subsets_file.is_file() else {}
    made = {f"{name}_s{k}": known[::k] for k in every if len(known[::k]) >= FEWEST_PHOTOS}
    subsets |= {subset: {"scene": name, "images": images} for subset, images in made.items()}
    subsets_file.write_text(json.dumps(subsets))
    return list(made)


def shrink(photo: Path, copy: Path) -> None:
    """Write a photo upright, with at most MAX_SIZE_PX on its longer side, with its EXIF data.

    COLMAP knows no upright, and this package does: their poses would be of turned cameras.
    """
    with Image.open(photo) as image:
        if max(image.size) <= MAX_SIZE_PX and image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            shutil.copyfile(photo, copy)
            return
        upright = ImageOps.exif_transpose(image)
        exif = upright.getexif()
        upright.thumbnail((MAX_SIZE_PX, MAX_SIZE_PX))
        upright.save(copy, quality=95, exif=exif)


def cameras_of(model: Path) -> dict[str, object]:
    """Cameras of a model in the form of a collection's cameras.json, whose pixels are centred on whole numbers."""
    if not model.is_dir():
        return {}
    found: dict[str, object] = {}
    for image in pycolmap.Reconstruction(model).images.values():
        k = image.camera.calibration_matrix()
        k[:2, 2] -= 0.5
        if image.has_pose:
            found[image.name] = {
                "cam_from_world_R": image.cam_from_world().rotation.matrix().tolist(),
                "center": image.projection_center().tolist(),
                "K": k.tolist(),
            }
    return found


def main() -> int:
    """Prepare the collections, then run every subset and write the document."""
    if len(sys.argv) > 1 and sys.argv[1] == "--one":
        return table(()).main()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "thinned")
    parser.add_argument("--score", type=Path, default=ROOT.parent / "shared" / "eval" / "score_model.py")
    parser.add_argument("--every", nargs="+", type=int, default=EVERY, metavar="K")
    parser.add_argument("--ways", nargs="+", default=["plain", "default"], choices=["plain", "default"])
    parser.add_argument("--keep", action="store_true", help="keep the other rows of the last table")
    arguments = parser.parse_args()
    if missing := [str(folder) for folder in arguments.folders if not folder.is_dir()]:
        parser.error(f"not a folder of photos: {', '.join(missing)}")
    arguments.data = arguments.work
    arguments.subsets = [
        subset for folder in arguments.folders for subset in prepare(folder, arguments.work, arguments.every)
    ]
    return table(arguments.subsets).run(arguments)


def table(subsets: Sequence[str]) -> SubsetTable:
    """The document about these subsets."""
    return SubsetTable(
        script=Path(__file__).resolve(),
        title="Collections thinned out",
        closing=f"{CLOSING}\n\n{NOTES.read_text(encoding='utf-8').strip()}",
        folder=FOLDER,
        subsets=tuple(subsets),
        ways=("plain", "default"),
        is_paired=True,
    )


if __name__ == "__main__":
    sys.exit(main())
