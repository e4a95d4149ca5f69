"""Collections of other kinds than Strecha's facades: this package against plain pycolmap.

Runs subsets of five public collections (a statue, a toy, a street, a building by many cameras, frames of a video) in
two ways, each in a process of its own so that the times are those a user sees:

* ``plain``: pycolmap SIFT, exhaustive matching, incremental mapping (what the base stage begins with);
* ``default``: this package with its default options;

and writes a table of the scores of the largest model to ``docs/results/places.md``. ``default`` is run right after
``plain``, with which its time is compared.

Usage: python pipelines/places.py [--data DIR] [--score SCRIPT] [--subsets NAME ...] [--ways WAY ...] [--keep]

The data folder holds ``places/subsets.json`` (default: $INTERPOSE_SFM_DATA, else ../shared/data); the score script
takes SUBSET MODEL_DIR and prints one JSON line (default: ../shared/eval/score_model.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

from subset_tables import SubsetTable

CLOSING = """\
The poses of buddha are calibrated, those of reichstag published; lund's are those of a model of COLMAP's own, good to
some 5 degrees, and kermit's those of plain COLMAP's model of all photos, so that nothing can be better than `plain`
there. art has no known poses. Plain COLMAP draws one of several models of reichstag_s1 from run to run of one seed, and
so does the base stage: AUC@30 was 91.1, 91.6 or 92.3 in runs of either way. Subsets without a row have not been run."""

TABLE = SubsetTable(
    script=Path(__file__).resolve(),
    title="Other places",
    closing=CLOSING,
    folder="places",
    subsets=(
        "art_s1",
        "buddha_s1",
        "buddha_s2",
        "kermit_s1",
        "kermit_s2",
        "lund_s1",
        "lund_s3",
        "lund_s4",
        "reichstag_s1",
        "reichstag_s2",
        "reichstag_s3",
    ),
    ways=("plain", "default"),
    is_paired=True,
)

if __name__ == "__main__":
    sys.exit(TABLE.main())
