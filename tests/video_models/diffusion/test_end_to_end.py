"""From photos over clips of a tiny diffusers pipeline to poses and models; its random weights must change nothing."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interpose_sfm.cli import main as cli
from interpose_sfm.synthetic import SampleOptions, SampleTruth, write_sample
from interpose_sfm.video_models.diffusion import loading

FAST = ("--max-keypoints=256", "--num-random-subsets=1", "--frames-per-clip=3")
TINY = ("--video-steps=1", "--video-frames=5", "--video-long-side-px=64", "--video-dtype=float32", "--video-device=cpu")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleTruth:
    """Two groups of three photos, too far from each other for their learned matches to be believed."""
    options = SampleOptions(seed=1, width_px=400, photos_per_group=3, num_frames=3, supersampling=1)
    return write_sample(tmp_path_factory.mktemp("end_to_end") / "collection", options)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Checkpoints that were loaded."""
    loaded: list[str] = []
    load = loading.load

    def counted(checkpoint: Any, *arguments: Any) -> loading.LoadedPipeline:
        loaded.append(checkpoint.repo)
        return load(checkpoint, *arguments)

    monkeypatch.setattr(loading, "load", counted)
    return loaded


def run(*arguments: str | Path) -> tuple[int, Any, str]:
    """Exit code, JSON on standard output, and standard error of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([*map(str, arguments), "--json"])
    return code, json.loads(out.getvalue()), err.getvalue()


def records(folder: Path) -> list[dict[str, Any]]:
    """What is noted beside the clips of a store, in order."""
    assert all(path.with_suffix(".json").exists() for path in folder.glob("*.mp4"))
    return [json.loads(path.with_suffix(".json").read_text()) for path in sorted(folder.glob("*.mp4"))]


def test_relpose(sample: SampleTruth, tiny_checkpoint: Callable[..., Path], tmp_path: Path, loads: list[str]) -> None:
    checkpoint = tiny_checkpoint("wan-vace")
    photos = [Path(shutil.copy(sample.photo_dir / name, tmp_path)) for name in (sample.gap.a, sample.gap.b)]
    command = ("relpose", *photos, f"--generator=diffusers:{checkpoint}", "--num-clips=4", *FAST, *TINY)
    code, found, _ = run(*command)
    made = records(tmp_path / "interpose_clips")

    assert [record["backwards"] for record in made] == [False, True, False, True]
    assert len({record["seed"] for record in made}) == 4
    assert {record["generator"] for record in made} == {f"diffusers:{checkpoint}"}
    assert {record["settings"]["pipeline"] for record in made} == {"WanVACEPipeline"}
    assert all(record["revision"].startswith("local ") for record in made)
    assert loads == [str(checkpoint)]
    assert code == 1
    assert found["verdict"] != "accepted"
    assert len(found["tried"]) >= 4

    again = run(*command)
    assert again[:2] == (code, found)
    assert loads == [str(checkpoint)]  # nothing is made twice


def test_reconstruct(
    sample: SampleTruth, tiny_checkpoint: Callable[..., Path], tmp_path: Path, loads: list[str]
) -> None:
    checkpoint = tiny_checkpoint("ltx")
    command = ("reconstruct", sample.photo_dir, "--output", tmp_path, f"--generator=diffusers:{checkpoint}")
    code, found, _ = run(*command, "--num-clips=2", "--max-weak-pairs=2", "--max-bridged-pairs=1", *FAST, *TINY)
    assert code == 0
    assert len(records(tmp_path / "clips")) == 2
    assert loads == [str(checkpoint)]
    report = found["report"]
    assert report["num_registered_after"] == report["num_registered_before"]
    assert not any(pair["verdict"] == "accepted" for pair in report["pairs"])
