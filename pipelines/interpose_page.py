"""Lay out pairs of the InterPose project page for ``benchmark.py interpose-page``.

The page's public repository (github.com/Inter-Pose/Inter-Pose.github.io) holds 40 pairs of photos, twelve videos of
each, and the errors that the authors publish. The study's data are the pairs of even number; this makes the same of
others, so that what was found on those can be tried on pairs that nobody looked at.

Usage: python pipelines/interpose_page.py CHECKOUT FOLDER [--examples 1 3 5 7 9]
"""

from __future__ import annotations

import argparse
import html
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.page_videos import MODELS, YAW_DEG
from interpose_sfm.storage.atomic import atomic_write_json

COLUMNS = ("dust3r_pair", *MODELS)  # in the order of the page's tables
ROWS = {"Rotation Geodesic Error": "rotation_error_deg", "Translation Angle Error": "translation_error_deg"}
SPELLED = {"DynamiCrafter": "dynamicrafter", "Runway": "runway", "Drean_Machine": "luma"}

_ROWS = re.compile(r"<tr>(.*?)</tr>", re.DOTALL)
_CELLS = re.compile(r"<td>(.*?)</td>", re.DOTALL)
_PROMPT = re.compile(r"<td>Prompt \d: (.*?)</td>", re.DOTALL)
_PHOTO = re.compile(r'<img src="\.\./(output_videos/[^"]+)"')
_VIDEO = re.compile(r'<source src="\.\./(output_videos/[^"]+?_(' + "|".join(SPELLED) + r')_subset_v(\d)(_flip)?\.mp4)"')


def main() -> int:
    """Lay out the pairs asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkout", type=Path, help="working tree of the page's repository")
    parser.add_argument(
        "folder", type=Path, help="gets DATASET/EXAMPLE, as benchmark.py interpose-page --data reads them"
    )
    parser.add_argument("--examples", type=int, nargs="+", default=[1, 3, 5, 7, 9], help="1 to 10, of each dataset")
    arguments = parser.parse_args()
    for dataset in YAW_DEG:
        for example in arguments.examples:
            lay_out(arguments.checkout, dataset, example, arguments.folder / dataset / f"{example:02d}")
    return 0


def lay_out(checkout: Path, dataset: str, example: int, folder: Path) -> None:
    """Copy photos and videos of one pair, and write what is published of it.

    Raises:
        SystemExit: The page is not there, or is not built as it was.
    """
    page = checkout / "output_htmls" / f"{dataset}_example_{example}.html"
    if not page.is_file():
        raise SystemExit(f"there is no {page}; give a working tree of github.com/Inter-Pose/Inter-Pose.github.io")
    text = page.read_text(encoding="utf-8")
    photos, videos = _PHOTO.findall(text), _VIDEO.findall(text)
    if len(photos) != 2 or len(videos) != 4 * len(MODELS):
        raise SystemExit(
            f"{page} shows {len(photos)} photos and {len(videos)} videos, expected 2 and {4 * len(MODELS)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in zip(("a.jpg", "b.jpg"), photos, strict=True):
        shutil.copyfile(checkout / source, folder / name)
    for source, model, number, flip in videos:
        shutil.copyfile(checkout / source, folder / f"{SPELLED[model]}_{number}_{'ba' if flip else 'ab'}.mp4")
    atomic_write_json(folder / "published.json", published(text, dataset, example))


def published(text: str, dataset: str, example: int) -> dict[str, Any]:
    """What a page says of its pair: prompts, errors in degrees, and the video that the authors' score selected."""
    table = {cells[0]: cells[1:] for row in _ROWS.findall(text) if (cells := _CELLS.findall(row))}
    errors: dict[str, Any] = {}
    for row, key in ROWS.items():
        values = [float(cell) for cell in table[row]] if row in table else []
        errors[key] = dict(zip(COLUMNS, values, strict=True)) if values else None
    selected = [int(cell.removeprefix("video ")) for cell in table["Selected Video"][1:]]
    return {
        "dataset": dataset,
        "example": example,
        "prompts": [html.unescape(prompt).strip() for prompt in _PROMPT.findall(text)],
        **errors,
        "selected_video": dict(zip(MODELS, selected, strict=True)),
    }


if __name__ == "__main__":
    sys.exit(main())
