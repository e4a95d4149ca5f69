"""The command `match`: learned matches ahead of a reconstruction, on one machine or a share on each of several."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bridging_scene import pan
from interpose_sfm.cli import main as cli
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.options import MatchingOptions, ReconstructOptions
from interpose_sfm.products import Features, Matches
from interpose_sfm.storage.run_stores import open_stores
from interpose_sfm.workflows.match_pairs import match_photos
from interpose_sfm.workflows.merge_stores import merge_outputs

NAMES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
FAST = "--max-keypoints=256"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, frame in zip(NAMES, pan(seed=5, num_frames=4), strict=True):
        Image.fromarray(frame).save(folder / name, quality=95)
    return folder


@pytest.fixture
def pair_file(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.txt"
    path.write_text("a.jpg b.jpg\nb.jpg c.jpg\nd.jpg c.jpg\na.jpg c.jpg\nb.jpg d.jpg\n")
    return path


def run(*arguments: str | Path) -> tuple[int, Any]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = cli.main(["match", *map(str, arguments), "--json"])
    return code, json.loads(out.getvalue())


def matches_in(folder: Path) -> dict[str, list[list[int]]]:
    with open_stores(folder) as stores:
        found = {key: stores.matches.get(key) for key in stores.matches.keys()}  # noqa: SIM118 - a store is no dict
    return {key: value.indices.tolist() for key, value in found.items() if value is not None}


def test_shares_together_are_all_matches(
    photos: Path, pair_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (photos, "--pair-file", pair_file, FAST, "--output")
    code, whole = run(*arguments, tmp_path / "whole")
    assert code == 0
    assert len(whole["pairs"]) == whole["num_pairs"] == 5
    shares = [run(*arguments, tmp_path / f"{index}", f"--shard={index}/2")[1] for index in (1, 2)]
    assert sorted(str(pair) for share in shares for pair in share["pairs"]) == sorted(map(str, whole["pairs"]))
    merged = merge_outputs(tmp_path / "1", [tmp_path / "2"])
    assert merged.num_matches == len(shares[1]["pairs"]) > 0
    assert matches_in(tmp_path / "1") == matches_in(tmp_path / "whole")
    assert merge_outputs(tmp_path / "1", [tmp_path / "2"]).num_matches == 0
    monkeypatch.setattr(LearnedMatcher, "match", lambda *_: pytest.fail("a pair is matched twice"))
    assert run(*arguments, tmp_path / "1")[0] == 0


def test_match_photos_refuses_a_pair_file_that_is_not_there(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no pair file .*none\.txt; expected a text file"):
        match_photos(photos, tmp_path / "out", pairs=tmp_path / "none.txt")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_ends_the_command_and_is_told_once(
    photos: Path, pair_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def extract(*_: object) -> Features:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LearnedMatcher, "extract", extract)
    arguments = map(str, (photos, "--pair-file", pair_file, FAST, "--output", tmp_path / "out"))
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        assert cli.main(["match", *arguments]) == 3
    assert err.getvalue().count("No space left on device") == 1


def test_several_outputs_may_have_one_store(photos: Path, pair_file: Path, tmp_path: Path) -> None:
    arguments = (photos, "--pair-file", pair_file, FAST, "--store", tmp_path / "store", "--output")
    for index in (1, 2):
        found = run(*arguments, tmp_path / f"{index}", f"--shard={index}/2")[1]
        assert found["store"] == str(tmp_path / "store")
        assert not (tmp_path / f"{index}" / "matches.h5").exists()
    assert len(matches_in(tmp_path / "store")) == 5


def test_a_store_that_is_another_folder_is_refused(photos: Path, tmp_path: Path) -> None:
    before = sorted(photos.iterdir())
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        assert cli.main(["match", str(photos), "--store", str(photos), "--output", str(tmp_path / "out")]) == 2
    assert f"the store {photos} holds files of something else (a.jpg, b.jpg, c.jpg, ...)" in err.getvalue()
    assert sorted(photos.iterdir()) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("engine", ["local", "slurm"])
def test_an_engine_finds_the_same_matches(
    photos: Path, pair_file: Path, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (photos, "--pair-file", pair_file, FAST, "--output")
    run(*arguments, tmp_path / "whole", "--engine-workers=1")
    if engine == "slurm":
        pytest.importorskip("submitit")
        monkeypatch.setattr(LearnedMatcher, "match", lambda *_: pytest.fail("this process matches"))
    options = (f"--engine={engine}", "--engine-workers=2", "--slurm-cluster=local")
    code, found = run(*arguments, tmp_path / "by engine", *options)
    assert code == 0
    assert found["failed"] == {}
    assert matches_in(tmp_path / "by engine") == matches_in(tmp_path / "whole")


def test_what_a_killed_run_had_matched_is_merged(tmp_path: Path) -> None:
    """Its items are parts still, and there is no file."""
    matches = Matches(np.array([[1, 2]], np.uint32), np.array([0.5], np.float32))
    features = Features(np.zeros((0, 2)), np.zeros((0, 8), np.float32), np.zeros(0, np.float32), (4, 3))
    with open_stores(tmp_path) as stores:
        stores.features.put("a.jpg", features)
        stores.matches.put("a", matches)
        for kind in ("features", "matches"):  # as a kill leaves them
            shutil.copytree(tmp_path / f"{kind}.h5.parts", tmp_path / "copy" / f"{kind}.h5.parts")
    assert not list((tmp_path / "copy").glob("*.h5"))
    assert merge_outputs(tmp_path / "out", [tmp_path / "copy"]).num_matches == 1
    assert matches_in(tmp_path / "out") == {"a": [[1, 2]]}


def test_nothing_to_merge_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected the output folder"):
        merge_outputs(tmp_path / "out", [tmp_path / "nowhere"])
    assert cli.main(["merge", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_a_pair_file_that_is_not_there_is_told_before_anything_is_made(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main(["match", str(photos), "--output", str(tmp_path / "out"), "--pair-file", str(tmp_path / "no.txt")])
    assert code == 2
    assert "there is no pair file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_stage_is_told_before_the_first_pair_is_done(photos: Path, pair_file: Path, tmp_path: Path) -> None:
    """Otherwise its time is shown as that of the stage before it."""
    told: list[tuple[str, int, int]] = []
    options = ReconstructOptions(matching=MatchingOptions(max_keypoints=256))
    match_photos(photos, tmp_path / "out", options, pair_file, progress=lambda *how_far: told.append(how_far))
    assert [done for stage, done, _ in told if stage == "learned matching"] == list(range(6))
