"""The benchmark of the clip checks, on a few small videos of known truth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bridging_scene import pan, write_video
from paths import ROOT

NUM_FRAMES = 21


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs, three models; one of Luma's videos has a cut, one of Runway's stands still elsewhere."""
    folder = tmp_path_factory.mktemp("data")
    for seed, pair in enumerate(("here/01", "there/02")):
        frames = pan(seed, NUM_FRAMES)
        place = folder / "interpose_pairs" / pair
        place.mkdir(parents=True)
        Image.fromarray(frames[0]).save(place / "a.jpg", quality=95)
        Image.fromarray(frames[-1]).save(place / "b.jpg", quality=95)
        for model in ("dynamicrafter", "runway", "luma"):
            write_video(place / f"{model}_0_ab.mp4", frames)
        write_video(place / "dynamicrafter_1_ba.mp4", frames[::-1])
    here = folder / "interpose_pairs" / "here" / "01"
    sound, other = pan(0, NUM_FRAMES), pan(9, NUM_FRAMES)
    write_video(here / "luma_1_ab.mp4", [*sound[:7], *other[7:14], *sound[14:]])
    write_video(here / "runway_1_ab.mp4", [other[0]] * NUM_FRAMES)
    burst = folder / "strecha" / "wall" / "images"
    burst.mkdir(parents=True)
    for index, frame in enumerate(sound[::3]):
        Image.fromarray(np.asarray(frame)).save(burst / f"{index}.jpg")
    return folder


def run(data: Path, folder: Path, *words: str) -> str:
    command = [sys.executable, str(ROOT / "pipelines" / "clip_checks.py"), "--data", str(data), "--made", "1"]
    paths = ["--work", str(folder / "work"), "--result", str(folder / "results" / "clip_checks.md")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *paths, *words], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def table_row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_flags_are_counted_per_model_and_held_against_what_was_seen(data: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    seen = {"here/01/luma_1_ab": {"seen": "cut", "note": "twice"}, "here/01/luma_0_ab": {"seen": "neither"}}
    (results / "clip_checks_inspected.json").write_text(json.dumps(seen))
    run(data, tmp_path, "--strips", str(tmp_path / "strips"))

    text = (results / "clip_checks.md").read_text()
    assert table_row(text, "hard cut")[:3] == ["0", "0", "1"]
    assert table_row(text, "nothing moves") == ["0", "1", "0"]
    assert table_row(text, "the last frame does not show its photo") == ["0", "1", "0"]
    assert table_row(text, "nothing flagged") == ["4 of 4", "2 of 3", "2 of 3"]
    assert table_row(text, "cut") == ["1 of 1"] * 3  # put in
    assert "Wrongly flagged as a hard cut: 0 of 1 inspected" in text
    assert "Missed: 0 of 1 inspected" in text
    assert "here/01/luma_1_ab | hard cut |" in text
    assert "- wall, 7 photos" in text

    rows = {row["video"]: row for row in json.loads((results / "clip_checks.json").read_text())}
    assert len(rows) == 10
    assert rows["there/02/dynamicrafter_1_ba"]["flags"] == []  # its ends are held against B and A
    step = rows["here/01/luma_1_ab"]["strongest_step"]
    assert step["first"] < 7 <= step["last"]  # the two steps over the cut are as strong as one another
    assert Image.open(results / "clip_checks.jpg").size[1] > 100
    assert len(list((tmp_path / "strips").iterdir())) == 2


def test_a_second_run_measures_nothing_again_and_reads_new_verdicts(data: Path, tmp_path: Path) -> None:
    first = run(data, tmp_path)
    assert "here/01/luma_1_ab hard cut" in first
    text = (tmp_path / "results" / "clip_checks.md").read_text()
    assert "Nothing flagged as a hard cut was inspected yet." in text
    verdicts = {"here/01/luma_1_ab": {"seen": "neither"}, "there/02/luma_0_ab": {"seen": "fade"}}
    (tmp_path / "results" / "clip_checks_inspected.json").write_text(json.dumps(verdicts))
    assert "here/01" not in run(data, tmp_path)
    text = (tmp_path / "results" / "clip_checks.md").read_text()
    assert "Wrongly flagged as a hard cut: 1 of 1 inspected, which makes 10.0% of all videos" in text
    assert "Missed: 1 of 1 inspected without either flag (there/02/luma_0_ab)" in text


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "pipelines" / "clip_checks.py"), "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "--data" in done.stderr
