"""DynamiCrafter's adapter with real processes: the command, what is checked before it, and how it ends.

What runs is a stand-in with the published interface (`dynamicrafter_stand_in`); no test runs the model itself.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from api_servers import wait_until
from dynamicrafter_stand_in import StandIn, git, make_stand_in
from interpose_sfm.cli import main as cli
from interpose_sfm.clips.mp4 import format_of
from interpose_sfm.options import GenerationOptions
from interpose_sfm.video_models import dynamicrafter
from interpose_sfm.video_models.clip_store import Task
from interpose_sfm.video_models.dynamicrafter import FORMAT, DynamiCrafterModel
from interpose_sfm.video_models.protocol import ClipTask, GenerationError, MadeVideo
from paths import HELPERS

SHAPE = (FORMAT.height_px, FORMAT.width_px, 3)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return make_stand_in(tmp_path_factory.mktemp("checkout") / "DynamiCrafter")


@pytest.fixture
def stand_in(published: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., StandIn]:
    """Makes a checkout of its own whose commit is taken for the published one."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def make(body: str | None = None) -> StandIn:
        folder = tmp_path / "checkout"
        if body is None:
            shutil.copytree(published.folder, folder)
            found = StandIn(folder, published.commit)
        else:
            found = make_stand_in(folder, body)
        monkeypatch.setattr(dynamicrafter, "COMMIT", found.commit)
        return found

    return make


def model(found: StandIn, device: str = "cuda:0", **options: Any) -> DynamiCrafterModel:
    return DynamiCrafterModel("dynamicrafter", GenerationOptions(dynamicrafter_dir=found.folder, **options), device)


def task(prompt: str = "a courtyard", seed: int = 7) -> ClipTask:
    first, last = np.full(SHAPE, 60, np.uint8), np.full(SHAPE, 190, np.uint8)
    first[:100, :100] = (200, 30, 30)
    last[-100:, -100:] = (30, 30, 200)
    return ClipTask(key="a clip", first=first, last=last, prompt=prompt, seed=seed, format=FORMAT)


def make(made_by: DynamiCrafterModel, wanted: ClipTask | None = None) -> MadeVideo:
    return made_by.make(wanted or task(), Task(Path("/nowhere"), 0.0))


def runs(found: StandIn) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (found.folder / "runs.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------- one clip


def test_a_clip_leads_from_the_first_picture_to_the_last(
    stand_in: Callable[..., StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "interpose_sfm.video_models.dynamicrafter")
    awkward = tmp_path / "samples of mine"  # the script replaces this word all over its output path
    awkward.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(awkward))
    found, wanted = stand_in(), task("a courtyard\nin the sun")
    made = make(model(found), wanted)

    assert format_of(made.file) == FORMAT
    path = tmp_path / "clip.mp4"
    path.write_bytes(made.file)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
    assert np.abs(frames[0] - wanted.first).mean() < 2 < 50 < np.abs(frames[0] - wanted.last).mean()
    assert np.abs(frames[-1] - wanted.last).mean() < 2
    assert runs(found)[0]["prompts"] == ["a courtyard in the sun"]
    assert "a step of the sampler" in caplog.text
    assert made.revision.startswith(found.commit[:12])
    assert made.cost_usd == 0
    assert not list(awkward.iterdir())


def test_the_arguments_are_those_of_the_published_command(stand_in: Callable[..., StandIn]) -> None:
    found = stand_in()
    make(model(found, video_steps=30), task("", seed=2**32 + 5))
    assert runs(found)[0]["arguments"] == {
        "ckpt_path": str(found.checkpoint),
        "config": str(found.folder / "configs" / "inference_512_v1.0.yaml"),
        "prompt_dir": "in",
        "savedir": "out",
        "n_samples": 1,
        "bs": 1,
        "height": 320,
        "width": 512,
        "unconditional_guidance_scale": 7.5,
        "ddim_steps": 30,
        "ddim_eta": 1.0,
        "text_input": False,
        "video_length": 16,
        "frame_stride": 5,
        "timestep_spacing": "uniform_trailing",
        "guidance_rescale": 0.7,
        "perframe_ae": True,
        "interp": True,
        "loop": False,
        "multiple_cond_cfg": False,
        "negative_prompt": False,
        "cfg_img": None,
        "seed": 5,
    }


def test_the_script_has_an_environment_of_its_own(
    stand_in: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "RUNWAYML_API_SECRET",
        "OPENAI_API_KEY",
        "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD",
    ):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 6")
    monkeypatch.setenv("HF_HOME", "/a/cache")
    found = stand_in()
    make(model(found, "cuda:1"))
    seen = runs(found)[0]["environment"]
    assert seen["CUDA_VISIBLE_DEVICES"] == "6"
    assert seen["HF_HOME"] == "/a/cache"
    assert seen["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"
    hidden = "PYTHONPATH", "VIRTUAL_ENV", "RUNWAYML_API_SECRET", "OPENAI_API_KEY", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    assert not set(hidden) & set(seen)


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [("cuda", "", ""), ("cuda:2", "", "2"), ("cuda:0", "GPU-a,GPU-b", "GPU-a"), ("cuda", "3", "")],
)
def test_the_script_sees_its_device_first(
    device: str, visible: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert dynamicrafter.visible_devices(device) == expected


def test_what_determines_a_clip_is_in_the_settings(stand_in: Callable[..., StandIn]) -> None:
    found = stand_in()
    settings = model(found).settings
    assert settings == model(found).settings
    assert settings["steps"] == 50
    assert settings["commit"] == found.commit
    assert model(found, video_steps=20).settings != settings
    found.save_weights({"state_dict": {"weight": np.nan}})
    assert model(found).settings["weights"] != settings["weights"]


def test_there_is_one_format(stand_in: Callable[..., StandIn]) -> None:
    made_by = model(stand_in(), video_frames=80, video_long_side_px=1024)
    assert made_by.format_for((100, 900)) == made_by.format_for((1600, 900)) == FORMAT
    assert made_by.estimate(FORMAT).memory_gib == pytest.approx(11.9)
    assert made_by.estimate(FORMAT).cost_usd == 0


def test_bridge_makes_clips_and_none_of_them_twice(stand_in: Callable[..., StandIn], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, grey in (("a.png", 60), ("b.png", 190)):
        Image.fromarray(np.full((300, 400, 3), grey, np.uint8)).save(photos / name)
    found = stand_in()
    command = ["bridge", str(photos), "--output", str(tmp_path / "output"), "--generator=dynamicrafter"]
    command += [f"--dynamicrafter-dir={found.folder}", "--video-device=cuda:0,cuda:1", "--num-clips=2"]
    command += ["--pairs", "a.png", "b.png"]
    assert cli.main([*command, "--dry-run"]) == 0
    assert not (found.folder / "runs.jsonl").exists()
    for _ in range(2):
        assert cli.main(command) == 0
        assert len(runs(found)) == 2
    assert {run["environment"]["CUDA_VISIBLE_DEVICES"] for run in runs(found)} == {"0", "1"}
    assert len(list((tmp_path / "output" / "clips").glob("*.mp4"))) == 2


# ---------------------------------------------------------------- what is checked before


def test_without_a_checkout_it_is_said_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no checkout of https://github.com/Doubiiu/DynamiCrafter .*README.md"):
        model(StandIn(tmp_path, ""))


def test_a_copy_within_another_repository_is_not_taken_for_its_commit(
    stand_in: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = stand_in()
    shutil.rmtree(found.folder / ".git")
    with pytest.raises(ValueError, match="git cannot tell"):
        model(found)
    git(found.folder.parent, "init", "-q")
    with pytest.raises(ValueError, match="no git repository of its own"):
        model(found)


def test_another_commit_is_refused(stand_in: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch) -> None:
    found = stand_in()
    monkeypatch.setattr(dynamicrafter, "COMMIT", "f" * 40)
    with pytest.raises(ValueError, match=rf"got commit {found.commit}.*checkout f{{40}}"):
        model(found)


def test_changed_code_is_refused(stand_in: Callable[..., StandIn]) -> None:
    found = stand_in()
    found.script.write_text("print('other')")
    with pytest.raises(ValueError, match=r"got changed files.*scripts/evaluation/inference.py"):
        model(found)


def test_its_own_python_is_needed(stand_in: Callable[..., StandIn], tmp_path: Path) -> None:
    found = stand_in()
    found.python.chmod(0o644)
    with pytest.raises(ValueError, match=r"no Python .*--dynamicrafter-python"):
        model(found)
    assert model(found, dynamicrafter_python=Path(sys.executable))
    with pytest.raises(ValueError, match="no Python"):
        model(found, dynamicrafter_python=tmp_path)


def test_its_checkpoint_is_needed(stand_in: Callable[..., StandIn]) -> None:
    found = stand_in()
    whole = found.checkpoint.read_bytes()
    found.checkpoint.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut off"):
        model(found)
    found.checkpoint.unlink()
    with pytest.raises(ValueError, match=r"no checkpoint at .*DynamiCrafter_512_Interp"):
        model(found)


@pytest.mark.parametrize("device", ["cpu", "mps", "cuda:2"])
def test_it_runs_on_cuda_only(stand_in: Callable[..., StandIn], device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(ValueError, match="CUDA"):
        model(stand_in(), device)


def test_it_has_one_checkpoint(stand_in: Callable[..., StandIn]) -> None:
    with pytest.raises(ValueError, match="one checkpoint"):
        DynamiCrafterModel("dynamicrafter:1024", GenerationOptions(dynamicrafter_dir=stand_in().folder), "cuda")


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_runs_code_is_refused(
    stand_in: Callable[..., StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "interpose_sfm.video_models.dynamicrafter")
    found = stand_in()
    found.save_weights({"state_dict": {}, "callbacks": Malicious(tmp_path / "was_here")})
    with pytest.raises(ValueError, match=r"not run.*tensors and plain values \(it holds posix.mkdir\)"):
        make(model(found))
    assert not (found.folder / "runs.jsonl").exists()

    monkeypatch.setattr(dynamicrafter, "check_weights", lambda _: None)  # the script's own PyTorch refuses it as well
    with pytest.raises(GenerationError, match="ended with exit code"):
        make(model(found))
    assert "unsupported GLOBAL posix.mkdir" in caplog.text
    assert not (tmp_path / "was_here").exists()


def test_a_checkpoint_of_something_else_is_refused(stand_in: Callable[..., StandIn]) -> None:
    found = stand_in()
    found.save_weights({"weights": {}})
    with pytest.raises(ValueError, match="no entry 'state_dict'"):
        make(model(found))


def test_pictures_of_another_size_are_refused(stand_in: Callable[..., StandIn]) -> None:
    small = np.zeros((16, 16, 3), np.uint8)
    wanted = ClipTask(key="", first=small, last=small, prompt="", seed=0, format=FORMAT)
    with pytest.raises(ValueError, match=r"\(320, 512, 3\)"):
        make(model(stand_in()), wanted)


# ---------------------------------------------------------------- how it ends


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("raise KeyError('a tensor of the encoder')", GenerationError, r"exit code 1.*a tensor of the encoder"),
        ("sys.exit(0)", GenerationError, r"left no clip.*a step of the sampler"),
        ("os.kill(os.getpid(), 9)", GenerationError, "exit code -9"),
        ("raise MemoryError('CUDA out of memory. Tried to allocate')", ValueError, r"on cuda:0.*12.8 GB"),
        ("import no_such_module", ValueError, r"lacks something.*no_such_module.*requirements.txt"),
    ],
    ids=["error", "no clip", "killed", "memory", "module"],
)
def test_a_failing_script_is_quoted(
    stand_in: Callable[..., StandIn],
    body: str,
    kind: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    with pytest.raises(kind, match=message):
        make(model(stand_in(body)))
    assert not list((tmp_path / "tmp").iterdir())


def test_a_python_that_cannot_be_started_is_named(stand_in: Callable[..., StandIn]) -> None:
    found = stand_in()
    found.python.write_text("#!/no/such/interpreter\n")
    with pytest.raises(ValueError, match="cannot be started"):
        make(model(found))


def test_ctrl_c_ends_the_script_and_what_it_has_started(stand_in: Callable[..., StandIn], tmp_path: Path) -> None:
    started = tmp_path / "started"
    found = stand_in(
        f"import subprocess, time\n"
        f"child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(started)!r} + '.tmp', 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        f"os.rename({str(started)!r} + '.tmp', {str(started)!r})\n"
        f"time.sleep(600)"
    )
    ours = f"""
import sys
sys.path[:0] = [{str(HELPERS)!r}, {str(Path(__file__).parent)!r}]
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import test_dynamicrafter as tests
tests.dynamicrafter.COMMIT = {found.commit!r}
tests.make(tests.model(tests.StandIn(tests.Path({str(found.folder)!r}), "")))
"""
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", ours],
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(started.exists, 60)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert "KeyboardInterrupt" in errors
    wait_until(lambda: not any(map(is_running, map(int, started.read_text().split()))))
    assert not list((tmp_path / "tmp").iterdir())


def is_running(process_id: int) -> bool:
    """Whether a process is there and not just a zombie that nobody has asked for."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_doctor_says_what_is_missing(stand_in: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="got no checkout"):
        DynamiCrafterModel.probe()
    found = stand_in()
    package = found.folder.parent / "interpose_sfm" / "video_models" / "dynamicrafter.py"
    (found.folder.parent / "third_party").mkdir()
    found.folder.rename(found.folder.parent / "third_party" / "DynamiCrafter")
    monkeypatch.setattr(dynamicrafter, "__file__", str(package))
    assert found.commit[:12] in DynamiCrafterModel.probe()
