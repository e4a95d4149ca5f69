"""The command export: what it writes, says, and exits with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exported_scene import make_workspace
from interpose_sfm.cli.main import main


def test_it_writes_all_formats_and_names_the_largest_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = make_workspace(tmp_path / "out", sizes=(4, 3)).root
    assert main(["export", str(output)]) == 0
    said = capsys.readouterr().out
    for index in (0, 1):
        folder = output / "export" / str(index)
        assert (folder / "nerfstudio" / "transforms.json").is_file()
        assert all(str(folder / kind) in said for kind in ("nerfstudio", "undistorted", "text", "ply"))
    assert [line.split()[:2] for line in said.splitlines() if "largest" in line] == [["0", "(largest)"]]
    assert main(["export", str(output), "--formats", "text, ply", "--to", str(tmp_path / "to"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["formats"] == ["text", "ply"]
    assert result["folder"] == (tmp_path / "to").as_posix()
    assert sorted(path.name for path in (tmp_path / "to" / "1").iterdir()) == ["ply", "text"]


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = make_workspace(tmp_path / "out").root
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine")
    for arguments, message in [
        ((str(tmp_path / "nowhere"),), "no output folder of reconstruct"),
        ((str(output), "--to", str(tmp_path / "thesis")), "files that no export wrote (chapter.txt)"),
        ((str(output), "--formats", "colmap"), "got the export format 'colmap'"),
    ]:
        assert main(["export", *arguments]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("interpose_sfm: error: ")
        assert message in said.err
        assert said.err.count("\n") == 1
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "mine"
