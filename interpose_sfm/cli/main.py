"""The command line: what its arguments ask for, and who does it."""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
from collections.abc import Sequence

import tyro

from interpose_sfm import __version__
from interpose_sfm.cli import terminal
from interpose_sfm.cli.command import OK, UNUSABLE, Command, reader_may_leave
from interpose_sfm.cli.commands import COMMANDS, Hook
from interpose_sfm.cli.options import UsageError, first_line, option_rules
from interpose_sfm.cli.running import EXPECTED_ERRORS, execute
from interpose_sfm.cli.script import missing_script, run_script
from interpose_sfm.cli.terminal import PROGRAM
from interpose_sfm.options import InterposeOptions

_EXIT_CODES = """\
exit codes:
  0    done
  1    no model could be built; for relpose: no pose that can be trusted; for bridge: a clip could not be made;
       for match: a pair could not be matched; for doctor: reconstruct cannot run
  2    wrong arguments, unusable input such as a folder without two usable photos, or something that is not installed
  3    the machine: disk full, too little memory, no permission; what was finished is kept
  4    the models are those before the fallback, which failed; report.json says how
  70   a defect of this program
  130  stopped by Ctrl-C
  143  stopped by a signal to terminate"""


_MAX_WORDS = 12  # of a path with blanks


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The exit code: 0 done, 1 no model (or pose, or clip) could be had, 2 unusable arguments, input or installation,
        3 lack of disk, memory or permission, 4 COLMAP's models only, since the fallback failed, 70 a defect, 130 or
        143 stopped by a signal.
    """
    for stream in (sys.stdout, sys.stderr):  # file names may hold what the terminal cannot show
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = None
    with reader_may_leave(sys.stdout):
        try:
            command = parse(arguments)
        except UsageError as error:
            terminal.tell(f"error: {error}")
            return UNUSABLE
        except SystemExit as stop:  # tyro has printed help or an error
            path = _taken_apart(arguments) if stop.code else ""
            if path:
                terminal.tell(f"{path!r} has blanks, at which the shell takes it apart; put it in quotes")
            return stop.code if isinstance(stop.code, int) else OK
    if isinstance(command, Hook):
        problem = _unusable(command.options)
        if problem:
            terminal.tell(f"error: {problem}")
            return UNUSABLE
        return run_script(command.script, command.options, command.verbose, command.quiet)
    return OK if command is None else execute(command)


def _unusable(options: InterposeOptions) -> str:
    """Why the drop-in cannot be installed with these options; empty if it can."""
    from interpose_sfm.workflows.start_checks import check_options

    try:
        check_options(options)
    except EXPECTED_ERRORS as error:
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
    if name not in COMMANDS:
        raise UsageError(_unknown_command(name))
    kind, script = COMMANDS[name], []
    if kind is Hook and "--" in rest:
        place = rest.index("--")
        rest, script = rest[:place], rest[place + 1 :]
    elif kind is Hook and not {"-h", "--help"} & set(rest):
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
    return _with_script(command, script) if isinstance(command, Hook) else command


def _with_script(command: Hook, script: Sequence[str]) -> Hook:
    problem = missing_script(script)
    if problem:
        raise UsageError(problem)
    if command.json:
        raise UsageError("got --json, which hook cannot offer: the output is that of the script")
    return dataclasses.replace(command, script=tuple(script))


def _taken_apart(arguments: Sequence[str]) -> str:
    """A path with blanks that is there, of which several arguments were made; empty if there is none."""
    counts = range(2, _MAX_WORDS + 1)
    paths = (" ".join(arguments[i : i + n]) for n in counts for i in range(len(arguments) - n + 1))
    return next(filter(os.path.exists, paths), "")


def _help_text() -> str:
    commands = "\n".join(f"  {name:12} {first_line(kind)}" for name, kind in COMMANDS.items())
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
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    if near:
        return f"unknown command {name!r}; did you mean {near[0]}?"
    return f"unknown command {name!r}, expected one of: {', '.join(COMMANDS)}"
