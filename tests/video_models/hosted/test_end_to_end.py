"""From photos over clips of Runway and Luma to poses and models, with local servers that speak their protocols."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api_servers import KEY, Answer, ApiServer, LumaServer, RunwayServer, wait_until, web_folder
from hosted_scene import MODELS, use_server
from interpose_sfm.cli import main as cli
from interpose_sfm.synthetic import SampleOptions, SampleTruth, write_sample

FAST = (
    *("--max-keypoints=256", "--max-frame-keypoints=256", "--learned-max-image-px=400", "--max-frame-px=320"),
    *("--num-random-subsets=1", "--frames-per-clip=3"),
)
BOTH = pytest.mark.parametrize("service", ["runway", "luma"])
PRICE_USD = {"runway": 4 * 0.36, "luma": 0.0064 * 864 * 648 * 24 * 5 / 1e6}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleTruth:
    """Two groups of three photos, too far from each other for their learned matches to be believed."""
    options = SampleOptions(seed=1, width_px=400, photos_per_group=3, num_frames=3, supersampling=1)
    return write_sample(tmp_path_factory.mktemp("end_to_end") / "collection", options)


@dataclass(frozen=True)
class Service:
    """A server, and the arguments that choose its smallest clips.

    Attributes:
        name: Of the service.
        server: Its server.
        choice: The model and how it sees pictures, without leave to spend anything.
    """

    name: str
    server: ApiServer
    choice: tuple[str, ...]

    @property
    def arguments(self) -> tuple[str, ...]:
        return (*self.choice, "--max-cost=10")


@pytest.fixture
def hosted(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    public = tmp_path / "public"
    public.mkdir()
    server = RunwayServer() if service == "runway" else LumaServer()
    with server.running(), web_folder(public) as public_url:
        use_server(monkeypatch, service, server)
        if service == "runway":
            yield Service(service, server, ("--generator=runway:seedance2", "--video-long-side-px=700"))
        else:
            where = (f"--public-dir={public}", f"--public-url={public_url}")
            yield Service(service, server, ("--generator=luma", "--video-long-side-px=864", *where))
        assert not list(public.iterdir())


def run(*arguments: str | Path) -> tuple[int, Any, str]:
    """Exit code, JSON on standard output if any, and standard error of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([*map(str, arguments), "--json"])
    return code, json.loads(out.getvalue() or "null"), err.getvalue()


def records(folder: Path) -> list[dict[str, Any]]:
    """What is noted beside the clips of a store, in order."""
    return [json.loads(path.with_suffix(".json").read_text()) for path in sorted(folder.glob("*.mp4"))]


def holds_the_key(folder: Path) -> bool:
    return any(KEY.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def of_the_gap(sample: SampleTruth, hosted: Service, output: Path) -> tuple[str | Path, ...]:
    """The arguments of `bridge` for the pair that keeps the groups apart."""
    pair = ("--pairs", sample.gap.a, sample.gap.b)
    return ("bridge", sample.photo_dir, "--output", output, *hosted.choice, "--num-clips=4", *pair)


@pytest.mark.parametrize("service", ["luma"])
def test_relpose(hosted: Service, sample: SampleTruth, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    ends = [Path(shutil.copy(sample.photo_dir / name, photos)) for name in (sample.gap.a, sample.gap.b)]
    command = ("relpose", *ends, *hosted.arguments, "--num-clips=2", *FAST)
    code, found, _ = run(*command)
    made = records(photos / "interpose_clips")

    assert hosted.server.count("create") == len(made) == 2
    assert [record["backwards"] for record in made] == [False, True]
    assert {record["settings"]["service"] for record in made} == {hosted.name}
    assert all(record["cost_usd"] > 0 for record in made)
    assert code == 1
    assert found["verdict"] != "accepted"  # fading shows no motion
    assert len(found["tried"]) >= 2
    assert not holds_the_key(photos)

    num_requests = len(hosted.server.requests)
    assert run(*command)[:2] == (code, found)
    assert len(hosted.server.requests) == num_requests


@pytest.mark.parametrize("service", ["runway"])
def test_reconstruct(hosted: Service, sample: SampleTruth, tmp_path: Path) -> None:
    output = tmp_path / "output"
    command = ("reconstruct", sample.photo_dir, "--output", output, *hosted.arguments)
    command = (*command, "--num-clips=2", "--max-weak-pairs=2", "--max-bridged-pairs=1", *FAST)
    code, found, _ = run(*command)
    assert code == 0
    assert hosted.server.count("create") == len(records(output / "clips")) == 2
    report = found["report"]
    assert report["num_registered_after"] == report["num_registered_before"] == 3
    assert not holds_the_key(output)


@pytest.mark.parametrize(
    ("service", "stop"), [("runway", signal.SIGKILL), ("luma", signal.SIGKILL), ("runway", signal.SIGINT)]
)
def test_a_stopped_bridge_goes_on_with_its_tasks(
    hosted: Service, stop: signal.Signals, sample: SampleTruth, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    command = (*of_the_gap(sample, hosted, output), "--max-cost=10")
    hosted.server.num_polls = 10_000
    process = subprocess.Popen([sys.executable, "-m", "interpose_sfm", *map(str, command)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: hosted.server.count("poll") >= 4, 60)
        process.send_signal(stop)
        assert process.wait(timeout=20) == (130 if stop is signal.SIGINT else -stop)
    finally:
        process.kill()
        process.wait()
    assert hosted.server.count("create") == 4
    assert records(output / "clips") == []

    hosted.server.num_polls = 1
    code, result, _ = run(*command)
    assert code == 0
    assert [clip["state"] for clip in result["clips"]] == ["made"] * 4
    assert hosted.server.count("create") == 4
    assert len(records(output / "clips")) == 4

    num_requests = len(hosted.server.requests)
    code, result, _ = run(*command)
    assert code == 0
    assert [clip["state"] for clip in result["clips"]] == ["exists"] * 4
    assert result["cost_usd"] == result["estimate"]["cost_usd"] == 0
    assert len(hosted.server.requests) == num_requests
    assert not holds_the_key(output)


@BOTH
def test_a_dry_run_needs_no_key_and_asks_nobody(
    hosted: Service, sample: SampleTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MODELS[hosted.name].key_variable)
    output = tmp_path / "output"
    code, result, _ = run(*of_the_gap(sample, hosted, output), "--dry-run")
    assert code == 0
    assert [clip["state"] for clip in result["clips"]] == ["missing"] * 4
    assert result["estimate"]["cost_usd"] == pytest.approx(4 * PRICE_USD[hosted.name], rel=1e-3)
    assert "by" in result["estimate"]["basis"]
    assert not hosted.server.requests
    assert not list(output.rglob("*.mp4"))


@BOTH
def test_what_it_would_cost_is_said_before_anything_is_spent(
    hosted: Service, sample: SampleTruth, tmp_path: Path
) -> None:
    for leave in ((), ("--max-cost=1",)):
        code, _, errors = run(*of_the_gap(sample, hosted, tmp_path / "output"), *leave)
        assert code == 2
        assert f"4 clips of '{hosted.choice[0].partition('=')[2]}' are missing" in errors
        assert f"${4 * PRICE_USD[hosted.name]:.2f}" in errors
        assert "--max-cost" in errors
    assert not hosted.server.requests


@pytest.mark.parametrize("service", ["runway"])
def test_a_clip_that_fails_stops_no_other(hosted: Service, sample: SampleTruth, tmp_path: Path) -> None:
    hosted.server.failures["create"] = [Answer(400, {"error": "the picture was moderated"})]
    command = (*of_the_gap(sample, hosted, tmp_path / "output"), "--max-cost=10")
    code, result, _ = run(*command)
    assert code == 1
    states = [clip["state"] for clip in result["clips"]]
    assert sorted(states) == ["failed", "made", "made", "made"]
    assert "the picture was moderated" in result["clips"][states.index("failed")]["detail"]
    num_requests = len(hosted.server.requests)
    assert run(*command)[0] == 1  # a refusal is final
    assert len(hosted.server.requests) == num_requests
