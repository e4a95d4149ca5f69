"""The benchmark on the paper's videos: what it counts, on rows of known content, and one run over small videos."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bridging_scene import pan, write_video
from interpose_sfm.products import LinkVerdict
from paths import ROOT

MODELS = ("dynamicrafter", "runway", "luma")
PUBLISHED = {
    "rotation_error_deg": {"dust3r_pair": 5.0, "dynamicrafter": 4.0, "runway": 3.0, "luma": 2.0},
    "selected_video": {"dynamicrafter": 0, "runway": 1, "luma": 2},
}


def run(data: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "pipelines" / "benchmark.py"), "interpose-page", "--data", str(data)]
    paths = ["--work", str(folder / "work"), "--result", str(folder / "results" / "interpose_pairs.md")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *paths, *words], capture_output=True, text=True, env=environment, cwd=ROOT)


def place(data: Path, *names: str) -> Path:
    """A data folder with pairs of these names and nothing to see."""
    for name in names:
        (data / name).mkdir(parents=True)
        (data / name / "published.json").write_text(json.dumps(PUBLISHED))
    return data


def item(pair: str, model: str, yaw_deg: float | None, *, is_accepted: bool, d_med_deg: float = 3.0) -> dict[str, Any]:
    """What the study keeps of a pair and model, with a turn about y of this angle as its pose."""
    chosen: dict[str, Any] = {
        "reason": "accepted" if is_accepted else "hypotheses disagree",
        "accepted": is_accepted,
        "video": "" if yaw_deg is None else "a__b_1.mp4",
        "score_deg": d_med_deg,
        "score_kind": "D_med",
    }
    clips = {}
    if yaw_deg is not None:
        cosine, sine = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
        rotation = [[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]]
        chosen |= {"yaw_deg": yaw_deg, "rotation": rotation, "direction": [1.0, 0.0, 0.0]}
        clips["a__b_1.mp4"] = {"d_med_deg": d_med_deg, "d_bias_deg": 2.0, "hypotheses": 11, "yaw_deg": yaw_deg}
    return {
        "pair": pair,
        "model": model,
        "published": PUBLISHED,
        "estimator": "matcher",
        "frames_per_clip": 9,
        "verdict": "accepted" if is_accepted else "no self-consistent pose",
        "detail": "",
        "evidence": None,
        "link": {"source": "a__b_1.mp4", **chosen} if is_accepted else None,
        "proposals": [],
        "chosen": chosen,
        "strategies": dict.fromkeys(("paper", "medoid", "average", "pair-only"), chosen),
        "clips": clips,
        "alone": {"status": "few", "yaw_deg": None, "verdict": ""},
        "tried": ["focal lengths: 0.80 times the guess, by the clips"],
        "seconds": 1.0,
    }


def written(data: Path, folder: Path, items: list[dict[str, Any]]) -> str:
    (folder / "work" / "rows").mkdir(parents=True)
    for found in items:
        name = f"{found['pair'].replace('/', '_')}_{found['model']}_matcher_9.json"
        (folder / "work" / "rows" / name).write_text(json.dumps(found))
    done = run(data, folder, "--write-only", "--frames-per-clip", "9")
    assert done.returncode == 0, done.stderr
    return (folder / "results" / "interpose_pairs.md").read_text()


def test_targets_are_counted_over_pairs_and_models(tmp_path: Path) -> None:
    data = place(tmp_path / "data", "cambridge/01", "navi/02")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "interpose_pairs_notes.md").write_text("Seen by eye.\n")
    text = written(
        data,
        tmp_path,
        [
            item("cambridge/01", "dynamicrafter", None, is_accepted=False),
            item("cambridge/01", "runway", 60.0, is_accepted=True),
            item("cambridge/01", "luma", 76.0, is_accepted=True),
            item("navi/02", "dynamicrafter", 20.0, is_accepted=False),
            item("navi/02", "runway", 88.0, is_accepted=True),
            item("navi/02", "luma", 80.0, is_accepted=True),
        ],
    )
    assert "| 2 of 2 (cambridge/01, navi/02) |" in text
    assert "| cambridge/01 luma (76); 3 of 4 within |" in text  # 11 degrees outside its range
    assert "| 1 of 2 |" in text  # models within 15 degrees of one another
    assert "| cambridge/01 | runway, luma | 16.0 | 0.0 |" in text
    assert "| navi/02 | runway, luma | 8.0 | 0.0 |" in text
    assert "| paper | 5 of 6 | 3 | 3 | 4 | 3 |" in text
    assert (
        "| navi/02 | luma | 1 (2) | 3.0 | 2.0 | 5.0 | 80.0 | +1.00, +0.00, +0.00 | accepted | 0.80 | 5.0, 2.0 |" in text
    )
    assert "Of 5 selected videos 2 are those" in text
    assert "| accepted | 0 | 2 | 2 |" in text
    assert "6 of 6 rows agree on a focal length: 0.80 to 0.80 times the guess" in text
    assert text.endswith("Seen by eye.\n")


def test_a_range_is_kept_to_the_degree(tmp_path: Path) -> None:
    data = place(tmp_path / "data", "scannet/01", "dl3dv/02")
    items = [item("scannet/01", "luma", 75.0, is_accepted=True), item("dl3dv/02", "luma", 40.0, is_accepted=True)]
    assert "| none; 0 of 2 within |" in written(data, tmp_path, items)
    items = [item("scannet/01", "luma", 75.1, is_accepted=True), item("dl3dv/02", "luma", 39.9, is_accepted=True)]
    assert "dl3dv/02 luma (40), scannet/01 luma (75)" in written(data, tmp_path / "again", items)


def test_what_would_be_believed_unseen_is_told_apart(tmp_path: Path) -> None:
    unseen = LinkVerdict.UNSEEN.value
    items = [
        item("navi/02", "runway", 70.0, is_accepted=True),
        item("navi/02", "luma", 70.0, is_accepted=False) | {"verdict": unseen},
        item("navi/04", "runway", 60.0, is_accepted=False) | {"verdict": unseen},
        item("navi/04", "luma", 10.0, is_accepted=False) | {"verdict": unseen},
    ]
    text = written(place(tmp_path / "data", "navi/02", "navi/04"), tmp_path, items)
    assert "| 1 of 2 (navi/02) |" in text
    assert "would accept besides | navi/04 runway (60), navi/04 luma (10); 1 of 2 within 10 degrees of the" in text


def test_nothing_done_is_told(tmp_path: Path) -> None:
    assert "Nothing is done yet." in written(place(tmp_path / "data", "navi/02"), tmp_path, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--only", "navi/99"), "no pair navi/99; there are navi/02"), (("--models", "sora"), "sora")],
)
def test_what_is_not_there_is_refused(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = run(place(tmp_path / "data", "navi/02"), tmp_path, *words)
    assert done.returncode != 0
    assert message in done.stderr
    done = run(tmp_path / "elsewhere", tmp_path)
    assert done.returncode != 0
    assert "published.json" in done.stderr


def test_videos_become_a_row_and_are_estimated_once(tmp_path: Path) -> None:
    data = place(tmp_path / "data", "navi/02")
    folder = data / "navi" / "02"
    frames = pan(3, 7)
    Image.fromarray(frames[0]).save(folder / "a.jpg", quality=95)
    Image.fromarray(frames[-1]).save(folder / "b.jpg", quality=95)
    write_video(folder / "luma_0_ab.mp4", frames)
    write_video(folder / "luma_1_ba.mp4", frames[::-1])
    words = ("--models", "luma", "--frames-per-clip", "3")
    first = run(data, tmp_path, *words)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("navi/02 luma: ")
    (found,) = json.loads((tmp_path / "results" / "interpose_pairs.json").read_text())
    assert (found["pair"], found["model"], found["frames_per_clip"]) == ("navi/02", "luma", 3)
    assert set(found["strategies"]) == {"paper", "medoid", "average", "pair-only"}
    assert len(found["tried"]) >= 2  # both videos, whichever way they play
    for row in found["strategies"].values():
        if "rotation" in row:  # the camera of a pan does not turn
            assert np.trace(np.array(row["rotation"])) > 2.9
    again = run(data, tmp_path, *words)
    assert again.returncode == 0
    assert "luma: " not in again.stdout
