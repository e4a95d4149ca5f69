"""Sparse subsets of Strecha's benchmark: this package against plain pycolmap and unchecked learned matching.

Runs every subset in several ways, each in a process of its own so that the times are those a user sees:

* ``plain``: pycolmap SIFT, exhaustive matching, incremental mapping (what the base stage does, without this package);
* ``learned``: ALIKED + LightGlue on all pairs, verified and mapped by pycolmap, without our checks;
* ``default``: this package with its default options;
* ``clips``: this package, the left-out photos as clips between neighbours (``--clips``, ``--accept-unseen``), on the
  subsets where COLMAP leaves a gap that photos could fill: what a perfect video model would give.

and writes a table of the scores of the largest model to ``docs/results/strecha_sparse.md``.

Usage: python pipelines/strecha_sparse.py [--data DIR] [--score SCRIPT] [--subsets NAME ...] [--ways WAY ...] [--keep]

The data folder holds ``strecha/subsets.json`` (default: $INTERPOSE_SFM_DATA, else ../shared/data); the score script
takes SUBSET MODEL_DIR and prints one JSON line (default: ../shared/eval/score_model.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

from subset_tables import SubsetTable

CLOSING = """\
`learned` is left out on castle-P30_s1, whose 435 pairs would all be matched although nothing is weak there.
`clips` is run where photos were left out that close the gap.
`bridged` counts the weak pairs for which clips were made or read."""

TABLE = SubsetTable(
    script=Path(__file__).resolve(),
    title="Sparse subsets of Strecha's benchmark",
    closing=CLOSING,
    folder="strecha",
    subsets=(
        "castle-P30_s1",
        "castle-P30_s3",
        "castle-P30_s4",
        "castle-P30_s5",
        "fountain-P11_s2",
        "fountain-P11_s3",
        "fountain-P11_s5",
        "Herz-Jesus-P8_s1",
        "Herz-Jesus-P8_s2",
        "Herz-Jesus-P8_s3",
    ),
    ways=("plain", "learned", "default", "clips"),
    clip_subsets=("castle-P30_s4", "castle-P30_s5"),
    left_out=(("castle-P30_s1", "learned"),),
)

if __name__ == "__main__":
    sys.exit(TABLE.main())
