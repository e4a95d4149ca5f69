"""Try what can go wrong, and write docs/reliability.md: what was tried, how often, and how often it held.

Usage: python tools/reliability.py [--results FOLDER]

Every kind of trouble has tests; this runs them at their full number and counts their cases. It takes about an hour on
two cores. Results lie in FOLDER as JUnit files, one for each kind; those that are there are not made again.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "reliability.md"
FULL = {"FUZZ_MUTATIONS": "600", "FAULT_KILLS": "50"}


@dataclass(frozen=True)
class Kind:
    """A kind of trouble.

    Attributes:
        name: Of its result file.
        title: What is tried.
        holds: What has to come of it.
        tests: Files and folders of its tests.
        chosen: Those of them that pytest's ``-k`` picks; empty for all.
    """

    name: str
    title: str
    holds: str
    tests: tuple[str, ...]
    chosen: str = ""


KINDS = (
    Kind(
        "mutations",
        "Random damage to every kind of file that is read",
        "read as it was, made again, or refused in a sentence; 10 s and 1 GiB at most, nothing outside touched",
        ("tests/faults/test_mutations.py",),
        "damage_is_read",
    ),
    Kind(
        "kills",
        "Runs killed at random moments",
        "the same command comes to the same models; what has its name is whole",
        ("tests/faults/test_kills.py",),
    ),
    Kind(
        "disk",
        "Full disks of ten sizes, and three limits of memory",
        "a sentence and exit code 3; with room again the same command comes to the same models",
        ("tests/faults/test_full_disk.py",),
    ),
    Kind(
        "folder",
        "An output folder that was damaged or edited, base stage and photos",
        "named and made again, or refused with what to delete; the same models",
        ("tests/workflows/test_damage.py", "tests/photos/test_ledger.py", "tests/storage/test_workspace.py"),
    ),
    Kind(
        "stores",
        "Stores, digests, names, locks and replaced files",
        "whole or not at all; nothing through links, nothing outside",
        (
            "tests/storage/test_stores.py",
            "tests/storage/test_atomic.py",
            "tests/storage/test_locks.py",
            "tests/storage/test_texts.py",
            "tests/colmap/test_model_files.py",
            "tests/colmap/test_databases.py",
        ),
    ),
    Kind(
        "several",
        "Two that write, and readers of what is being written",
        "one is told who holds it; a reader sees whole models and reports",
        ("tests/faults/test_several.py",),
    ),
    Kind(
        "hook",
        "Faults at every place of the hook after pycolmap has answered",
        "the script gets pycolmap's answer, with one warning",
        ("tests/workflows/test_transparency.py",),
    ),
    Kind(
        "photos",
        "Photos that are odd, broken or hostile",
        "used, or left out with the reason",
        ("tests/photos/test_collect.py", "tests/photos/test_pictures.py"),
    ),
    Kind(
        "clips",
        "Clip folders, lists and records that are odd or hostile",
        "read, or refused in a sentence",
        ("tests/clips/test_files.py", "tests/clips/test_record.py", "tests/bridging/test_clips_on_disk.py"),
    ),
    Kind(
        "services",
        "Services that answer nonsense, too much, too slowly, or lead astray",
        "a sentence; nothing is paid for twice, nothing inside the network is asked",
        ("tests/video_models/hosted/test_web.py", "tests/video_models/hosted/test_model.py"),
    ),
    Kind(
        "start",
        "Options and paths that cannot be used, in every verb",
        "told before COLMAP runs and before anything is made",
        ("tests/cli/test_start.py",),
    ),
    Kind(
        "terminal",
        "Names and texts with control characters",
        "shown, never obeyed",
        ("tests/cli/test_terminal.py",),
    ),
    Kind(
        "ends",
        "Native errors, defects and signals",
        "a sentence and the exit code of its kind",
        ("tests/test_failures.py", "tests/cli/test_console.py"),
    ),
)


def run(kind: Kind, path: Path) -> None:
    """The tests of a kind, into a JUnit file that is there once they have ended."""
    partial = path.with_suffix(".partial")
    command = [sys.executable, "-m", "pytest", *kind.tests, "-q", f"--junitxml={partial}", "-p", "no:cacheprovider"]
    chosen = ["-k", kind.chosen] if kind.chosen else []
    subprocess.run([*command, *chosen], cwd=ROOT, env={**FULL, **os.environ}, check=False)
    partial.replace(path)


def counted(path: Path) -> tuple[int, int, int]:
    """Cases that were tried, that held, and that could not be tried here. A test may stand for many cases."""
    tried = held = skipped = 0
    for case in ET.parse(path).iter("testcase"):
        cases = sum(int(p.get("value", 0)) for p in case.iter("property") if p.get("name") == "cases") or 1
        if case.find("skipped") is not None:
            skipped += cases
            continue
        tried += cases
        held += 0 if case.find("failure") is not None or case.find("error") is not None else cases
    return tried, held, skipped


def table(results: Path) -> str:
    """A row for every kind."""
    rows = ["| tried | cases | held | what holding means | tests |", "|---|---|---|---|---|"]
    for kind in KINDS:
        tried, held, skipped = counted(results / f"{kind.name}.xml")
        cases = f"{tried:,}" + (f" ({skipped} not possible here)" if skipped else "")
        tests = ", ".join(f"`{test.removeprefix('tests/')}`" for test in kind.tests)
        rows.append(f"| {kind.title} | {cases} | {held:,} | {kind.holds} | {tests} |")
    return "\n".join(rows)


def document(results: Path) -> str:
    """The whole text."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("pycolmap", "torch", "h5py"))
    return f"""# Reliability

What was tried to make a run fail, and how often it held. Written by `python tools/reliability.py`, on
{platform.system()} with Python {platform.python_version()}, {versions}.

{table(results)}

A mutation is a flipped bit, a cut, a hole, a doubled or exchanged piece, or in JSON another value, a missing one or one
of another type, mostly with a check that is right, as a forger would give it. A case of the other kinds is one test.

## How a run ends

| code | when | what is kept |
|---|---|---|
| 0 | done | |
| 1 | no model, pose or clip | the report |
| 2 | wrong arguments or input, or something is not installed | |
| 3 | the disk is full, memory or permission is missing | what was finished; the same command goes on |
| 4 | the fallback failed after COLMAP had mapped | COLMAP's models, and a report that says so |
| 70 | a defect of this program, with its traceback | what was finished |
| 130, 143 | Ctrl-C, SIGTERM | what was finished; the same command goes on |

## What is not caught

- COLMAP ends the process where its database meets a full disk, in a thread that nobody can stop. So it is begun only
  where 64 MiB are free, and is stopped in order when less is left. A quota that the file system does not tell, or
  another program that takes the last 64 MiB within a fiftieth of a second, still ends in an abort. So may an allocation
  that fails in one of COLMAP's threads. What was finished is kept then as well.
- A kill while the system writes to a disk that does not keep its word on order may leave files that are not whole; they
  are found by their digests.
- Scripts under `hook`: what ends the process itself ([SECURITY](../SECURITY.md#under-your-scripts)).
- Nothing here says whether a model is right: [limits](limits.md) does.
"""


def main() -> None:
    """Run what has no result yet, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--results", type=Path, default=ROOT / ".reliability", help="folder of the results")
    results: Path = parser.parse_args().results.resolve()
    results.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        path = results / f"{kind.name}.xml"
        if not path.exists():
            run(kind, path)
    DOCUMENT.write_text(document(results), encoding="utf-8")
    failed = [kind.title for kind in KINDS if len(set(counted(results / f"{kind.name}.xml")[:2])) > 1]
    if failed:
        sys.exit(f"not all held: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
