"""The documents agree with the code and with one another."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from paths import ROOT

DOCUMENTS = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
        *ROOT.glob("third_party/*.md"),
    ]
)
MAX_README_WORDS = 900
COMMAND_FLAGS = {
    *("dry-run", "export", "formats", "help", "json", "output", "pair-file", "pairs", "quiet", "to", "verbose"),
    *("photos", "models", "host", "port", "sheet", "align", "shard"),
}
PIPELINE_FLAGS = {
    *("data", "score", "frames-per-clip", "models", "pairs", "unseen", "work", "collections", "parts"),
    *("mapanything-dir", "rounds", "across"),
    *("known-cameras", "list-kind", "lists", "merge", "only-clips", "result", "sfm", "shard", "size", "spoiled"),
    "write-only",
}


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    """What GitHub makes of the headings of a document."""
    titles = re.findall(r"^#+ (.+)$", text_of(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_feature_of_ours_names_the_test_behind_it() -> None:
    rows = [
        row.split(" | ") for row in re.findall(r"^\| (.+) \|$", text_of(ROOT / "docs" / "features.md"), re.MULTILINE)
    ]
    assert len(rows) >= 15
    for feature, *_, test in rows[1:]:  # below the titles
        path, _, name = test.strip("`").partition("::")
        assert f"def {name}(" in text_of(ROOT / path), feature


def test_the_readme_is_read_at_once() -> None:
    assert len(text_of(ROOT / "README.md").split()) <= MAX_README_WORDS


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(path)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), f"{target}: there is no {found}"
        assert found.is_relative_to(ROOT)
        assert not anchor or anchor in anchors(found), f"{target}: no such heading"


def test_the_manual_has_the_options_as_they_are() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "option_tables.py"))
    manual = text_of(tool["MANUAL"])
    assert manual == tool["with_tables"](manual), "run python tools/option_tables.py"


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if path.is_relative_to(ROOT / "docs")], ids=lambda path: path.name
)
def test_options_that_documents_name_exist(path: Path) -> None:
    known = set(re.findall(r"^\| `--([a-z0-9-]+)` \|", text_of(ROOT / "docs" / "manual.md"), flags=re.MULTILINE))
    assert "max-cost" in known
    text = re.sub(r" -- .*", "", text_of(path))  # what a hooked script is given
    named = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", text))
    assert named <= known | COMMAND_FLAGS | PIPELINE_FLAGS


def test_the_floors_of_the_architecture_are_those_of_the_contract() -> None:
    contract = re.search(r"^layers = \[$(.*?)^\]$", text_of(ROOT / "pyproject.toml"), flags=re.MULTILINE | re.DOTALL)
    assert contract is not None
    layers = [set(line.split(" | ")) for line in re.findall(r'"(.+)"', contract[1])]
    section = text_of(ROOT / "docs" / "architecture.md").partition("\n## Floors\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \|", section, flags=re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == layers
