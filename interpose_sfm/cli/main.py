"""The command line: parses options, shows progress, prints results. The work is done by the library.

Options and their defaults come from the option dataclasses, help texts from their docstrings.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar

import tyro
from tyro.conf import Positional

from interpose_sfm import __version__
from interpose_sfm.cli import console, text
from interpose_sfm.cli.command import FAILED, NOT_EXTENDED, OK, UNUSABLE, Command, Outcome, reader_may_leave
from interpose_sfm.cli.console import PROGRAM
from interpose_sfm.cli.demo import DemoOptions, run_demo
from interpose_sfm.cli.export import Export, FormatList, split
from interpose_sfm.cli.options import UsageError, first_line, option_rules
from interpose_sfm.cli.script import missing_script, run_script
from interpose_sfm.doctor import CheckKind, diagnose
from interpose_sfm.options import ConsistencyOptions, InterposeOptions, ReconstructOptions
from interpose_sfm.products import ClipState, LinkVerdict
from interpose_sfm.registry import MissingDependencyError
from interpose_sfm.report import FallbackError
from interpose_sfm.run_log import Progress
from interpose_sfm.storage.json_values import to_jsonable
from interpose_sfm.storage.stores import StoreError
from interpose_sfm.storage.workspace import WorkspaceBusyError

if TYPE_CHECKING:
    from interpose_sfm.pose.da3.architectures import Published

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_Flat = Annotated[_T, tyro.conf.arg(name="")]  # options of a command without a name of their own

_EXIT_CODES = """\
exit codes:
  0    done
  1    no model could be built; for relpose: no pose that can be trusted; for bridge: a clip could not be made;
       for doctor: reconstruct cannot run
  2    wrong arguments, unusable input, or something that is not installed
  4    the models are those before the fallback, which failed; report.json says how
  130  stopped by Ctrl-C
  143  stopped by a signal to terminate"""

# What a user can mend; everything else is a defect and keeps its traceback.
_EXPECTED_ERRORS = (ValueError, OSError, ImportError, MissingDependencyError, WorkspaceBusyError, StoreError)


# Of ConsistencyOptions, what is about the choice of a pose.
_CHOICE_OPTIONS = frozenset(option.name for option in dataclasses.fields(ConsistencyOptions)) - {"num_clips"}


# ---------------------------------------------------------------- commands


@dataclass(frozen=True, kw_only=True)
class _Reconstruct(Command):
    """Reconstruct a folder of photos.

    Writes COLMAP models (sparse/0 is the largest), a point cloud and report.json. The same command goes on where an
    interrupted one stopped.

    Attributes:
        photos: Folder of the photos, sub-folders included.
        output: Output folder (default: PHOTOS_interpose beside the photos).
        export: Write the models for other programs as well, as the command export does: some of nerfstudio,
            undistorted, text and ply, apart by commas.
    """

    photos: Annotated[Positional[Path], tyro.conf.arg(metavar="PHOTOS")]
    output: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    export: FormatList = ""
    options: _Flat[ReconstructOptions] = field(default_factory=ReconstructOptions)

    keeps_its_work: ClassVar[bool] = True

    def run(self, progress: Progress) -> Outcome:
        from interpose_sfm.workflows.export_models import export_models
        from interpose_sfm.workflows.reconstruct import reconstruct

        formats = split(self.export) if self.export else ()  # a wrong name is told before the work begins
        start = time.monotonic()
        result = reconstruct(self.photos, self.output, self.options, progress)
        for warning in result.report.warnings:
            logger.warning("%s", warning)
        if not result.model_dirs:
            logger.error("no model could be built; %s says why for every photo", result.output / "report.json")
            return Outcome(FAILED, "", result)
        exported = export_models(result.output, formats, progress=progress).folder if formats else None
        summary = text.reconstruction(result, time.monotonic() - start, exported)
        return Outcome(OK, summary, result, is_optional=True)


@dataclass(frozen=True, kw_only=True)
class _Pairs(Command):
    """List the pairs of photos that plain COLMAP leaves apart, and why. Changes nothing on disk.

    Attributes:
        photos: Folder of the photos, sub-folders included.
    """

    photos: Annotated[Positional[Path], tyro.conf.arg(metavar="PHOTOS")]
    options: _Flat[ReconstructOptions] = field(default_factory=ReconstructOptions)

    hidden_options: ClassVar[frozenset[str]] = frozenset(
        {
            "generator",
            "pose_estimator",
            "overwrite",
            "use_gps",
            "max_bridged_pairs",
            "matching",
            "bridging",
            "generation",
            "consistency",
            "consensus",
            "da3",
            "dust3r",
        }
    )

    def run(self, progress: Progress) -> Outcome:
        from interpose_sfm.workflows.reconstruct import find_weak_pairs

        graph = find_weak_pairs(self.photos, self.options, progress)
        data = {
            "photos": graph.names,
            "models": [sorted(model) for model in graph.models],
            "unregistered": graph.unregistered,
            "weak_pairs": [
                {"a": weak.pair.a, "b": weak.pair.b, "reasons": weak.reasons, "num_verified": weak.num_verified}
                for weak in graph.weak_pairs
            ],
        }
        return Outcome(OK, text.weak_pairs(graph), data)


@dataclass(frozen=True, kw_only=True)
class _Bridge(Command):
    """Make bridging clips with a video model, without a reconstruction.

    The clips lie in the output folder, or in --clip-store; relpose and reconstruct use them on any machine. Clips that
    exist are not made again, so the same command goes on where an interrupted one stopped. Exits with 1 if a clip could
    not be made.

    Attributes:
        photos: Folder of the photos, sub-folders included.
        output: Output folder (default: PHOTOS_interpose beside the photos).
        pairs: Photos to bridge, two names each (default: the weak pairs, most promising first).
        pair_file: File with the pairs to bridge, two names a line.
        dry_run: List pairs, clips, time, memory and cost, and make no clip.
    """

    photos: Annotated[Positional[Path], tyro.conf.arg(metavar="PHOTOS")]
    output: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    pairs: Annotated[tuple[str, ...], tyro.conf.arg(metavar="A B ...", help_behavior_hint="")] = ()
    pair_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    dry_run: bool = False
    options: _Flat[ReconstructOptions] = field(default_factory=ReconstructOptions)

    hidden_options: ClassVar[frozenset[str]] = frozenset(
        {
            *("pose_estimator", "use_gps", "bridging", "da3", "dust3r"),
            *("max_frame_keypoints", "max_cycle_deg", *_CHOICE_OPTIONS),
        }
    )
    keeps_its_work: ClassVar[bool] = True

    def run(self, progress: Progress) -> Outcome:
        from interpose_sfm.workflows.make_clips import bridge_photos

        if self.pairs and self.pair_file is not None:
            raise ValueError("got both --pairs and --pair-file, expected one of them")
        if len(self.pairs) % 2:
            raise ValueError(f"got {len(self.pairs)} names after --pairs, expected two for each pair")
        pairs = self.pair_file or tuple(zip(self.pairs[::2], self.pairs[1::2], strict=True))
        result = bridge_photos(
            self.photos, self.output, self.options, pairs, is_dry_run=self.dry_run, progress=progress
        )
        code = FAILED if result.count(ClipState.FAILED) else OK
        return Outcome(code, text.bridge(result), result)


@dataclass(frozen=True, kw_only=True)
class _RelativePose(Command):
    """Find the relative pose of two photos.

    Exits with 1 if there is no pose or the evidence for it does not suffice; a refused pose is printed all the same.

    Attributes:
        a: First photo.
        b: Second photo.
    """

    a: Annotated[Positional[Path], tyro.conf.arg(metavar="A")]
    b: Annotated[Positional[Path], tyro.conf.arg(metavar="B")]
    options: _Flat[ReconstructOptions] = field(default_factory=ReconstructOptions)

    hidden_options: ClassVar[frozenset[str]] = frozenset(
        {"database", "camera_mode", "overwrite", "recursive", "use_gps", "base", "view_graph", "max_cycle_deg"}
    )

    def run(self, progress: Progress) -> Outcome:
        from interpose_sfm.workflows.relative_pose import relative_pose

        result = relative_pose(self.a, self.b, self.options, progress)
        code = OK if result.verdict is LinkVerdict.ACCEPTED else FAILED
        return Outcome(code, text.relative_pose(result), result)


@dataclass(frozen=True, kw_only=True)
class _Fetch(Command):
    """Fetch weights of a pose network into the cache of the Hugging Face hub: da3 or da3-base. No run does so unasked.

    The licence and the size are said first. A download that broke off goes on where it stopped.

    Attributes:
        name: da3 for DA3-SMALL, da3-base for DA3-BASE.
    """

    name: Annotated[Positional[str], tyro.conf.arg(metavar="NAME")]

    keeps_its_work: ClassVar[bool] = True

    def run(self, progress: Progress) -> Outcome:
        from interpose_sfm.workflows.fetch_weights import fetch_weights

        def announce(item: Published) -> None:
            if not self.quiet:
                print(text.licence(item), file=sys.stderr)

        result = fetch_weights(self.name, announce, progress)
        return Outcome(OK, str(result.path), result)


@dataclass(frozen=True, kw_only=True)
class _Doctor(Command):
    """Show which backends are usable on this machine, and how to install the others.

    Exits with 1 if something is missing that reconstruct cannot do without.
    """

    def run(self, progress: Progress) -> Outcome:
        checks = diagnose()
        missing = [check.name for check in checks if not check.usable and _is_essential(check.kind, check.name)]
        data = {"can_reconstruct": not missing, "checks": checks}
        return Outcome(FAILED if missing else OK, text.checks(checks, missing), data)


@dataclass(frozen=True, kw_only=True)
class _Demo(Command):
    """Render a small collection of photos, reconstruct it, and compare with the truth.

    Attributes:
        output: Output folder.
    """

    output: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("demo_output")
    options: _Flat[DemoOptions] = field(default_factory=DemoOptions)

    hidden_options: ClassVar[frozenset[str]] = frozenset({"reconstruct"})
    keeps_its_work: ClassVar[bool] = True

    def run(self, progress: Progress) -> Outcome:
        result = run_demo(self.output, self.options, progress)
        code = OK if result.reconstruction.model_dirs else FAILED
        return Outcome(code, text.demo(result), result)


@dataclass(frozen=True, kw_only=True)
class _Hook(Command):
    """Run a Python script of yours with pycolmap.incremental_mapping replaced by the drop-in.

    Usage: hook [options] -- SCRIPT [ARGUMENT ...], or hook [options] -- -m MODULE [ARGUMENT ...]. What the script
    prints and exits with stays as it is; what the drop-in did is said on stderr and in DATABASE_interpose/report.json.
    """

    options: _Flat[InterposeOptions] = field(default_factory=InterposeOptions)
    script: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()


_COMMANDS: Mapping[str, type[Command]] = {
    "reconstruct": _Reconstruct,
    "pairs": _Pairs,
    "bridge": _Bridge,
    "relpose": _RelativePose,
    "export": Export,
    "fetch": _Fetch,
    "doctor": _Doctor,
    "demo": _Demo,
    "hook": _Hook,
}

_ESSENTIAL_KINDS = frozenset(
    {CheckKind.MAPPER, CheckKind.POINT_CLOUD, CheckKind.STORE, CheckKind.NETWORKS, CheckKind.MATCHER}
)
_ESSENTIAL_NAMES = frozenset(
    {(CheckKind.DEVICE, "cpu"), (CheckKind.GENERATOR, "morph"), (CheckKind.POSE_ESTIMATOR, "matcher")}
)


def _is_essential(kind: CheckKind, name: str) -> bool:
    return kind in _ESSENTIAL_KINDS or (kind, name) in _ESSENTIAL_NAMES


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The exit code: 0 done, 1 no model (or pose, or clip) could be had, 2 unusable arguments, input or installation,
        4 COLMAP's models only, since the fallback failed, 130 or 143 stopped by a signal.
    """
    for stream in (sys.stdout, sys.stderr):  # file names may hold what the terminal cannot show
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    command = None
    with reader_may_leave(sys.stdout):
        try:
            command = parse(list(sys.argv[1:] if argv is None else argv))
        except UsageError as error:
            print(f"{PROGRAM}: error: {error}", file=sys.stderr)
            return UNUSABLE
        except SystemExit as stop:  # tyro has printed help or an error
            return stop.code if isinstance(stop.code, int) else OK
    if isinstance(command, _Hook):
        problem = _unusable(command.options)
        if problem:
            print(f"{PROGRAM}: error: {problem}", file=sys.stderr)
            return UNUSABLE
        return run_script(command.script, command.options, command.verbose, command.quiet)
    return OK if command is None else execute(command)


def _unusable(options: InterposeOptions) -> str:
    """Why the drop-in cannot be installed with these options; empty if it can."""
    from interpose_sfm.workflows.start_checks import check_options

    try:
        check_options(options)
    except _EXPECTED_ERRORS as error:
        return str(error)
    return ""


# ---------------------------------------------------------------- arguments


def parse(arguments: Sequence[str]) -> Command | None:
    """The command that the arguments name; None if all they asked for was a text, which is printed."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help_text())
        return None
    name, *rest = arguments
    if name == "--version":
        print(f"{PROGRAM} {__version__}")
        return None
    if name not in _COMMANDS:
        raise UsageError(_unknown_command(name))
    kind, script = _COMMANDS[name], []
    if kind is _Hook and "--" in rest:
        place = rest.index("--")
        rest, script = rest[:place], rest[place + 1 :]
    elif kind is _Hook and not {"-h", "--help"} & set(rest):
        raise UsageError(missing_script(()))
    if "" in rest:
        raise UsageError("got an empty argument, such as a variable of the shell that is not set")
    command = tyro.cli(
        kind,
        prog=f"{PROGRAM} {name}",
        args=rest,
        config=(
            tyro.conf.OmitArgPrefixes,
            tyro.conf.FlagCreatePairsOff,
            tyro.conf.DisallowNone,
            tyro.conf.EnumChoicesFromValues,
        ),
        registry=option_rules(kind.hidden_options, Command),
    )
    if command.verbose and command.quiet:
        raise UsageError("got both --verbose and --quiet, expected one of them")
    return _with_script(command, script) if isinstance(command, _Hook) else command


def _with_script(command: _Hook, script: Sequence[str]) -> _Hook:
    problem = missing_script(script)
    if problem:
        raise UsageError(problem)
    if command.json:
        raise UsageError("got --json, which hook cannot offer: the output is that of the script")
    return dataclasses.replace(command, script=tuple(script))


def _help_text() -> str:
    commands = "\n".join(f"  {name:12} {first_line(kind)}" for name, kind in _COMMANDS.items())
    return (
        f"usage: {PROGRAM} COMMAND ... [-v | -q] [--json]\n\n"
        "COLMAP reconstruction of photos that overlap too little, with bridging clips as a checked fallback.\n\n"
        f"commands:\n{commands}\n\n'{PROGRAM} COMMAND --help' shows the options of a command.\n\n{_EXIT_CODES}"
    )


def _unknown_command(name: str) -> str:
    if name.startswith("-"):
        return f"got {name} before the command, expected: {PROGRAM} COMMAND ... {name}"
    if os.path.isdir(name):  # first: a path may end like a command
        return f"got a folder and no command; did you mean: {PROGRAM} reconstruct {name}"
    near = difflib.get_close_matches(name, _COMMANDS, n=1)
    if near:
        return f"unknown command {name!r}; did you mean {near[0]}?"
    return f"unknown command {name!r}, expected one of: {', '.join(_COMMANDS)}"


# ---------------------------------------------------------------- running a command


def execute(command: Command) -> int:
    """Run a command: progress and messages on stderr, its result on stdout; returns the exit code."""
    stdout = sys.stdout
    with (
        console.messages(command.verbose, command.quiet),
        contextlib.redirect_stdout(sys.stderr if command.json else stdout),
    ):
        console.set_up_colmap(command.verbose)
        with console.Signals() as signals, console.ProgressBars.suited(command.quiet, command.json) as progress:
            try:
                outcome = command.run(progress)
            except (KeyboardInterrupt, Exception) as error:
                progress.close()
                # A signal in the middle of native code, as while a module loads, comes out as any error at all.
                if signals.received or isinstance(error, KeyboardInterrupt):
                    again = "; the same command goes on where this one stopped" if command.keeps_its_work else ""
                    print(f"{PROGRAM}: stopped{again}", file=sys.stderr)
                    return 128 + (signals.received or signal.SIGINT)
                if isinstance(error, FallbackError):
                    logger.error("%s", error, exc_info=command.verbose)
                    return NOT_EXTENDED
                if not isinstance(error, _EXPECTED_ERRORS):
                    raise
                logger.error("%s", error, exc_info=command.verbose)
                if isinstance(error, ImportError):
                    logger.error("'%s doctor' shows what to install", PROGRAM)
                return UNUSABLE
    with reader_may_leave(stdout):
        if command.json:
            print(json.dumps(to_jsonable(outcome.data), indent=2), file=stdout)
        elif outcome.text and not (command.quiet and outcome.is_optional):
            print(outcome.text, file=stdout)
    return outcome.code
