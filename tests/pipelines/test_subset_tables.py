"""The tables of subsets: one document from the rows of several runs, times beside the plain runs they belong to."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paths import ROOT

PIPELINES = ROOT / "pipelines"


@pytest.fixture(params=["places", "strecha_sparse"])
def table(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(PIPELINES))
    return runpy.run_path(str(PIPELINES / f"{request.param}.py"))["TABLE"]


def test_times_are_ratios_to_the_plain_run_that_belongs_to_them(table: Any) -> None:
    scores = {"registered": 3, "auc5": None, "auc10": 2.0, "auc30": 3.0, "max_rotation_deg": 0.5}
    subset = table.subsets[0]
    rows = [
        {"subset": subset, "way": "plain", "seconds": 10.0, **scores},
        {"subset": subset, "way": "no bridging", "seconds": 30.0, "accepted": 1, "weak": 4, **scores},
        {"subset": subset, "way": "default", "seconds": 30.0, "plain_seconds": 20.0, **scores},
    ]
    lines = table.document(rows).splitlines()
    cells = [line.split("|")[1:-1] for line in lines if line.startswith(f"| {subset} ")]
    assert [row[-1].strip() for row in cells] == ["1.00", "3.00", "1.50"]
    assert cells[1][-3].strip() == "1 / 4"
    assert cells[0][3].strip() == ""
    assert len({len(row) for row in cells}) == 1


def test_without_the_data_the_command_says_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PIPELINES / "places.py"), "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "does not hold places/subsets.json" in done.stderr


def test_one_way_of_a_subset_leaves_a_row(table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = tmp_path / table.folder
    (collection / "scene" / "images").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        (collection / "scene" / "images" / name).write_bytes(b"no picture")
    known = {table.subsets[0]: {"scene": "scene", "images": ["a.jpg", "b.jpg"]}}
    (collection / "subsets.json").write_text(json.dumps(known))
    monkeypatch.setattr(type(table), "_run", lambda *_: 2.0)
    monkeypatch.setitem(type(table).main.__globals__, "RESULTS", tmp_path)
    monkeypatch.setattr(
        sys,
        "argv",
        ["x", "--data", str(tmp_path), "--subsets", table.subsets[0], "--ways", "plain", "default", "--keep"],
    )
    assert table.main() == 0
    rows = json.loads(table.rows.read_text())
    assert [(row["way"], row["registered"]) for row in rows] == [("plain", 0), ("default", 0)]
    assert ("plain_seconds" in rows[1]) is table.is_paired
    assert table.result.read_text().startswith(f"# {table.title}")
