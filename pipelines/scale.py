"""Large collections in any order: which true neighbours are matched, what is registered, and what it costs.

Parts, each of which may be run by itself, and is measured and told by a module ``scale_*.py``; what earlier runs
measured stays in ``docs/results/scale.json``, from which ``docs/results/scale.md`` is written anew:

* ``places``: the real collections with truth together in one folder, names shuffled. What exhaustive matching verifies
  within a place counts as true neighbours; which share of it order, retrieval and both find.
* ``recall``: the same of a rendered town, whose true neighbours are known, by retrieval alone.
* ``candidates``: which weak pairs are tried, of those that learned matching links and SIFT does not verify: at which
  rank the real photos have them, and how many gaps of a town they cross.
* ``town``: the town reconstructed by plain pycolmap with every pair and with the same vocabulary tree, and by this
  package with bounded pairs, each in a process of its own; on a walk with gaps at the corners, or without.
* ``together``: five real places in one folder, names shuffled, reconstructed with pairs by retrieval: which photos are
  in one model, and which links across places are believed.
* ``engines``: a subset of castle-P30 with every engine, a worker killed, and two drivers on one store.
* ``memory``: learned features and matches of as many photos, of random numbers, through the cache of a run; and what
  the libraries and networks of learned matching take.

Usage: python pipelines/scale.py --parts PART ... [--data DIR] [--work DIR] [--photos N ...] [--width PX]
                                 [--ways WAY ...] [--walks WALK ...]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

import scale_candidates
import scale_engines
import scale_memory
import scale_recall
import scale_together
import scale_town
from interpose_sfm.report import versions
from interpose_sfm.retrieval.vocabulary import MAX_FEATURES
from scale_recall import SEED, Figures
from town import CORNER_DEG

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "results" / "scale.md"
PARTS = ("places", "recall", "candidates", "town", "together", "engines", "memory")


def document(figures: Figures) -> str:
    """All that was measured so far, and what was not."""
    used = f"pycolmap {versions()['pycolmap']}, {platform.machine()}, {os.cpu_count()} cores"
    parts = [
        "# Large collections\n\nBy `python pipelines/scale.py --parts ...`, seed 0. The tree has at most 4,096 words, "
        f"of at most {MAX_FEATURES} descriptors a photo. {used}, shared with other work, so that times compare within "
        "a table at best, and processor times better than others."
    ]
    if "places" in figures:
        parts.append(scale_recall.told_places(figures["places"]))
    parts += map(scale_recall.told_recall, figures.get("recall", {}).values())
    if "candidates" in figures:
        parts.append(scale_candidates.told_places(figures["candidates"]))
    parts += map(scale_candidates.told_town, figures.get("gaps", {}).values())
    if "town" in figures:
        parts.append(scale_town.told_town(list(figures["town"].values())))
    if "together" in figures:
        parts.append(scale_together.told_together(figures["together"]))
    if "engines" in figures:
        parts.append(scale_engines.told(figures["engines"]))
    parts += map(scale_memory.told_memory, figures.get("memory", {}).values())
    if "libraries" in figures:
        parts.append(scale_memory.told_libraries(figures["libraries"]))
    parts.append(f"## Not run\n\n{not_run(figures)}")
    return "\n\n".join(parts) + "\n"


def not_run(figures: Figures) -> str:
    """What the script offers and nobody has measured."""
    done = {(row["photos"], row["walk"], row["way"]) for row in figures.get("town", {}).values()}
    sizes = (100, 300, 1000)
    asked = [(n, "gaps", way) for n in sizes for way in scale_town.WAYS]
    asked.remove((1000, "gaps", "exhaustive"))  # half a million pairs, too many to wait for
    asked += [(n, "closed", way) for n in sizes for way in ("tree", "ours")]
    lacking = [f"{way} at {n}, {walk}" for n, walk, way in asked if (n, walk, way) not in done]
    town = f"The town reconstructed by: {', '.join(lacking) or 'nothing is lacking'}."
    if "together" in figures:
        return town
    return (
        f"{town} The real places were matched, not reconstructed together, so that nothing is said here of whether "
        "links would join them."
    )


def publish(figures: Figures) -> None:
    """Keep the figures, and write the document and its drawings."""
    RESULT.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    for name, svg in scale_town.growth_drawings(list(figures.get("town", {}).values())).items():
        RESULT.with_name(name).write_text(svg, encoding="utf-8")
    RESULT.write_text(document(figures), encoding="utf-8")


def main() -> None:
    """Run some parts and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("INTERPOSE_SFM_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--work", type=Path, default=ROOT.parent / "scale_work")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=())
    parser.add_argument("--photos", type=int, nargs="+", default=(100,), help="of the town")
    parser.add_argument("--width", type=int, default=480, help="of the town's photos, in pixels")
    parser.add_argument("--ways", nargs="+", choices=scale_town.WAYS, default=scale_town.WAYS)
    parser.add_argument("--walks", nargs="+", choices=tuple(CORNER_DEG), default=("gaps",), help="of part town")
    arguments = parser.parse_args()
    work, width_px = arguments.work, arguments.width
    work.mkdir(parents=True, exist_ok=True)
    kept = RESULT.with_suffix(".json")
    figures: Figures = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}

    def note(part: str, key: str, measure: Callable[[], Figures]) -> None:
        figures.setdefault(part, {})[key] = measure()
        publish(figures)

    if "places" in arguments.parts:
        figures["places"] = scale_recall.places(arguments.data, work)
    if "candidates" in arguments.parts:
        figures["candidates"] = scale_candidates.of_places(arguments.data, work)
    if "together" in arguments.parts:
        figures["together"] = scale_together.together(arguments.data, work)
    if "engines" in arguments.parts:
        figures["engines"] = scale_engines.engines(scale_engines.subset(arguments.data, work), work / "engines", SEED)
    for number in arguments.photos:
        if "recall" in arguments.parts:
            note("recall", f"{number} {width_px}", lambda n=number: scale_recall.recall(work, n, width_px))
        if "candidates" in arguments.parts:
            note("gaps", f"{number}", lambda n=number: scale_candidates.of_town(work, n, width_px))
        for walk, way in itertools.product(arguments.walks, arguments.ways if "town" in arguments.parts else ()):
            note(
                "town",
                f"{number} {walk} {way}",
                lambda n=number, walk=walk, way=way: {
                    "way": way,
                    **scale_town.measured_apart(way, work, n, width_px, walk),
                },
            )
        if "memory" in arguments.parts:
            figures["libraries"] = scale_memory.libraries()
            note("memory", f"{number}", lambda n=number: scale_memory.memory(work, n))
    publish(figures)


if __name__ == "__main__":
    main()
