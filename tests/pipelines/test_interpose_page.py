"""Laying out pairs of the paper's project page, on pages written here in its form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from paths import ROOT

SPELLED = {"DynamiCrafter": "dynamicrafter", "Runway": "runway", "Drean_Machine": "luma"}
SELECTED = {"dynamicrafter": 0, "runway": 3, "luma": 2}
DATASETS = ("cambridge", "scannet", "dl3dv", "navi")


def row(label: str, *cells: object) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in (label, *cells)) + "</tr>"


def write_page(checkout: Path, dataset: str, example: int, num_videos: int = 4) -> None:
    """A page with its photos and videos; every file holds its own name."""
    shown = checkout / "output_videos" / dataset
    shown.mkdir(parents=True, exist_ok=True)
    (checkout / "output_htmls").mkdir(exist_ok=True)
    names = [f"{example}_image1.jpg", f"{example}_image2.jpg"]
    for model in SPELLED:
        names += [f"{example}_{model}_subset_v{v}{'_flip' if v % 2 else ''}.mp4" for v in range(num_videos)]
    lines = [row("Input", "Pair", *SPELLED), row("Rotation Geodesic Error", 6.8, 6.9, 5.6, 6.5)]
    if dataset != "cambridge":
        lines.append(row("Translation Angle Error", 9.0, 6.0, 8.0, 7.0))
    lines.append(row("Selected Video", "--", *(f"video {number}" for number in SELECTED.values())))
    lines += [f"<td>Prompt {v}: A cat &amp; a dog, {v}.</td>" for v in range(num_videos)]
    for name in names:
        (shown / name).write_text(name)
        source = f"../output_videos/{dataset}/{name}"
        lines.append(f'<img src="{source}"/>' if name.endswith("jpg") else f'<source src="{source}" type="video/mp4">')
    (checkout / "output_htmls" / f"{dataset}_example_{example}.html").write_text("\n".join(lines))


def lay_out(checkout: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "pipelines" / "interpose_page.py"), str(checkout), str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for dataset in DATASETS:
        write_page(folder / "checkout", dataset, 3)
    done = lay_out(folder / "checkout", folder / "data", "--examples", "3")
    assert done.returncode == 0, done.stderr
    return folder / "data"


def test_photos_and_videos_get_the_names_of_the_study(laid_out: Path) -> None:
    folder = laid_out / "navi" / "03"
    assert (folder / "a.jpg").read_text() == "3_image1.jpg"
    assert (folder / "b.jpg").read_text() == "3_image2.jpg"
    assert (folder / "luma_1_ba.mp4").read_text() == "3_Drean_Machine_subset_v1_flip.mp4"
    assert (folder / "dynamicrafter_2_ab.mp4").read_text() == "3_DynamiCrafter_subset_v2.mp4"
    assert len(list(folder.glob("*.mp4"))) == 12


def test_what_is_published_is_read_off_the_page(laid_out: Path) -> None:
    found = json.loads((laid_out / "scannet" / "03" / "published.json").read_text())
    assert (found["dataset"], found["example"]) == ("scannet", 3)
    assert found["rotation_error_deg"] == {"dust3r_pair": 6.8, "dynamicrafter": 6.9, "runway": 5.6, "luma": 6.5}
    assert found["translation_error_deg"] == {"dust3r_pair": 9.0, "dynamicrafter": 6.0, "runway": 8.0, "luma": 7.0}
    assert found["selected_video"] == SELECTED
    assert found["prompts"] == [f"A cat & a dog, {v}." for v in range(4)]
    cambridge = json.loads((laid_out / "cambridge" / "03" / "published.json").read_text())
    assert cambridge["translation_error_deg"] is None


def test_a_page_that_is_missing_or_built_otherwise_is_refused(tmp_path: Path) -> None:
    done = lay_out(tmp_path, tmp_path / "data")
    assert done.returncode == 1
    assert "cambridge_example_1.html; give a working tree" in done.stderr
    write_page(tmp_path, "cambridge", 1, num_videos=3)
    done = lay_out(tmp_path, tmp_path / "data")
    assert done.returncode == 1
    assert "shows 2 photos and 9 videos, expected 2 and 12" in done.stderr
