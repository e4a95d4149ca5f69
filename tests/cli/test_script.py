"""Scripts under the hook run as without it."""

from __future__ import annotations

import sys
from pathlib import Path

import pycolmap
import pytest

from interpose_sfm.cli import main as cli
from interpose_sfm.cli.script import run_script
from interpose_sfm.options import InterposeOptions
from programs import hook, python


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


SHOW = """\
import sys, pickle
class Thing: pass
print(sys.argv, sys.path[0], __name__, __file__, __package__, sys.modules["__main__"].__dict__ is globals())
print(type(pickle.loads(pickle.dumps(Thing()))) is Thing)
"""


def test_a_script_sees_what_it_sees_without_us(tmp_path: Path) -> None:
    write(tmp_path / "scripts" / "show.py", SHOW)
    arguments = ("scripts/show.py", "--verbose", "-q", "--", "a b")
    plain, hooked = python(*arguments, cwd=tmp_path), hook("--", *arguments, cwd=tmp_path)
    assert plain.code == hooked.code == 0
    assert hooked.out == plain.out
    assert str(tmp_path / "scripts") in hooked.out
    assert hooked.err == ""


def test_a_module_sees_what_it_sees_without_us(tmp_path: Path) -> None:
    write(tmp_path / "package" / "__init__.py", "")
    write(tmp_path / "package" / "other.py", "VALUE = 5\n")
    write(tmp_path / "package" / "show.py", "from .other import VALUE\nprint(VALUE)\n" + SHOW)
    arguments = ("-m", "package.show", "--json")
    plain, hooked = python(*arguments, cwd=tmp_path), hook("--", *arguments, cwd=tmp_path)
    assert plain.code == hooked.code == 0, hooked.err
    assert hooked.out == plain.out
    assert "5\n" in hooked.out


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("import sys; sys.exit()", 0),
        ("import sys; sys.exit(7)", 7),
        ("import sys; sys.exit('no photos')", 1),
        ("def f():\n    raise RuntimeError('boom')\nf()\n", 1),
        ("raise KeyboardInterrupt", 130),
        ("x = = 1\n", 1),
    ],
)
def test_exit_codes_and_tracebacks_are_the_scripts(tmp_path: Path, text: str, code: int) -> None:
    script = write(tmp_path / "script.py", text)
    plain, hooked = python(script), hook("--", script)
    assert hooked.code == code
    assert plain.code in (code, -2)  # of a signal
    assert hooked.err == plain.err


def test_the_scripts_name_is_the_replaced_function(tmp_path: Path) -> None:
    text = "from pycolmap import incremental_mapping as f\nprint(hasattr(f, 'replaced_by_interpose_sfm'))\n"
    script = write(tmp_path / "script.py", text)
    assert (hook("--", script).out, python(script).out) == ("True\n", "False\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "got no script"),
        (("script.py",), "got no script"),
        (("--",), "got no script"),
        (("--", "-m"), "got no script"),
        (("--", "nowhere.py"), "there is no script nowhere.py"),
        (("--", "-m", "no_such_module.at_all"), "there is no module"),
        (("--", "."), "folder"),
        (("--json", "--", __file__), "--json"),
        (("-v", "-q", "--", __file__), "--verbose and --quiet"),
        (("--seed", "-1", "--", __file__), "option seed"),
    ],
)
def test_unusable_command_lines(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["hook", *arguments]) == cli.UNUSABLE
    assert message in capsys.readouterr().err


def test_options_reach_the_hook(tmp_path: Path) -> None:
    command = cli.parse(["hook", "--clips", "clips", "--seed", "3", "--", __file__, "--seed", "4"])
    assert command.script == (__file__, "--seed", "4")
    assert command.options.seed == 3
    assert command.options.bridging.clip_dirs == (Path("clips"),)
    plain = cli.parse(["hook", "--", __file__])
    assert (plain.script, plain.options) == ((__file__,), InterposeOptions())


def test_the_process_is_as_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs that run scripts by `run_script` and live on."""
    path = write(tmp_path / "script.py", "import sys\nsys.path.append('x')\nprint(sys.argv)\n")
    before = (list(sys.argv), list(sys.path), sys.modules["__main__"], pycolmap.incremental_mapping)
    assert run_script([str(path), "a"], InterposeOptions(), verbose=False, quiet=True) == 0
    assert capsys.readouterr().out == f"{[str(path), 'a']}\n"
    assert (sys.argv, sys.path, sys.modules["__main__"], pycolmap.incremental_mapping) == before
