"""A subset of Strecha's benchmark whose two models hang on one doubtful pair, with ten seeds.

COLMAP's threads make runs differ even with one seed. Where a join hangs on one link, that decides whether it is found;
this runs the same photos again and again, without bridging, and writes a table to ``docs/results/seeds.md``.

Usage: python pipelines/seeds.py [--data DIR] [--score SCRIPT] [--ways "seed 0" ...] [--keep]

The data folder and the score script are those of ``strecha_sparse.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from subset_tables import SubsetTable

CLOSING = """\
`plain` registers 6 photos in one model and 3 in another, with one photo in common. The pair that ties them, 0016-0020,
has 55 matches of more than 0.1 confidence, and several poses that explain nearly as many of them, up to 20 degrees from
the true one ([joining](../joining.md#a-second-question))."""

TABLE = SubsetTable(
    script=Path(__file__).resolve(),
    title="One subset with ten seeds",
    closing=CLOSING,
    folder="strecha",
    subsets=("castle-P30_s4",),
    ways=("plain", *(f"seed {seed}" for seed in range(10))),
)

if __name__ == "__main__":
    sys.exit(TABLE.main())
