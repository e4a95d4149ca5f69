"""What each witness adds, counted on items of known content."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

from paths import ROOT


def item(pair: str, model: str, yaw_deg: float, *, sound: bool = True, accepted: bool = False) -> dict[str, Any]:
    """A pair and model whose clips choose a turn about y; its pixels believe the same turn, or nothing."""
    cosine, sine = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    choice = {
        "accepted": sound,
        "video": "a__b_1.mp4",
        "yaw_deg": yaw_deg,
        "rotation": [[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]],
        "direction": [1.0, 0.0, 0.0],
    }
    return {
        "pair": pair,
        "model": model,
        "verdict": "accepted" if accepted else "unseen: why",
        "link": choice if accepted else None,
        "chosen": choice,
        "strategies": {"paper": choice, "medoid": {**choice, "accepted": True}},
        "proposals": [{"source": "a__b_1.mp4", "spread_deg": 1.0}],
    }


def written(folder: Path, items: list[dict[str, Any]]) -> str:
    (folder / "items.json").write_text(json.dumps(items))
    command = [sys.executable, str(ROOT / "pipelines" / "witnesses.py"), "--items", str(folder / "items.json")]
    done = subprocess.run([*command, "--result", str(folder / "out.md")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (folder / "out.md").read_text()


def test_every_witness_is_counted_by_pairs(tmp_path: Path) -> None:
    text = written(
        tmp_path,
        [
            item("navi/01", "runway", 60.0),  # two models agree where pixels are silent
            item("navi/01", "luma", 66.0),
            item("navi/02", "runway", 20.0),  # agree, and are wrong
            item("navi/02", "luma", 25.0),
            item("navi/03", "runway", 45.0, accepted=True),  # near the range; the other model is wrong
            item("navi/03", "luma", 120.0),
            item("navi/04", "runway", 70.0, sound=False),
            item("navi/04", "luma", 71.0, sound=False, accepted=True),
        ],
    )
    assert "| clips alone, D_med + D_bias | runway | 1 | 1 | 1 | 1 |" in text
    assert "| clips alone, D_med + D_bias | luma | 1 | 0 | 2 | 1 |" in text
    assert "| clips alone, D_med + D_bias | any of them | 1 | 0 | 2 | 1 |" in text
    assert "| clips alone, D_med alone | runway | 2 | 1 | 1 | 0 |" in text
    assert "| + pixels of A and B | runway | 0 | 1 | 0 | 3 |" in text
    assert "| + pixels of A and B | any of them | 1 | 1 | 0 | 2 |" in text
    assert "| + other video models, without pixels, D_med + D_bias | two that agree | 1 | 0 | 1 | 2 |" in text
    assert "| + other video models, without pixels, D_med alone | two that agree | 2 | 0 | 1 | 1 |" in text
    assert "| pixels, else other video models, D_med + D_bias | any, or two that agree | 2 | 1 | 1 | 0 |" in text
    assert "| navi/03 | runway, luma | 45, 120 | 5, 30 | 75.0 | 0.0 | no | accepted; unseen |" in text
    assert "3 of 4 agree.\nAny limit from 6 to 75 degrees would tell the same" in text
    assert "bounds the share" not in text  # one that they agree on is wrong


def test_what_few_pairs_prove_is_said(tmp_path: Path) -> None:
    text = written(tmp_path, [item("navi/01", "runway", 60.0), item("navi/01", "luma", 66.0)])
    assert "That none of 1 is wrong bounds the share" in text
    assert "95% with 95 % confidence" in text


def test_a_choice_on_a_guessed_focal_length_is_no_witness(tmp_path: Path) -> None:
    """It proposes nothing."""
    guessed = {**item("navi/01", "luma", 66.0), "proposals": []}
    text = written(tmp_path, [item("navi/01", "runway", 60.0), guessed])
    assert "0 of 0 agree." in text
    assert "| + other video models, without pixels, D_med alone | two that agree | 0 | 0 | 0 | 1 |" in text
