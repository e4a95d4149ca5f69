"""The data sets of the command: how each is read, and which of its pairs count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks import cambridge, colmap_truth, dl3dv, imb, navi, scannet, strecha
from benchmarks.pair_rule import PairRule
from benchmarks.scenes import Loader


@dataclass(frozen=True)
class DataSet:
    """A data set with true poses.

    Attributes:
        title: As its authors call it.
        loader: How it is read.
        rule: Which pairs count.
        note: What of the rule is ours because the paper does not tell it.
    """

    title: str
    loader: Loader
    rule: PairRule
    note: str = ""


_OURS = "The paper states the number and the range of the yaw; the bound of the overlap and the drawing are ours."

DATA_SETS: Mapping[str, DataSet] = {
    "cambridge": DataSet(
        "Cambridge Landmarks",
        cambridge.LOADER,
        PairRule(number=290, min_yaw_deg=50, max_yaw_deg=65, min_overlap=0.05),
        _OURS,
    ),
    "scannet": DataSet(
        "ScanNet", scannet.LOADER, PairRule(number=300, min_yaw_deg=50, max_yaw_deg=65, min_overlap=0.05), _OURS
    ),
    "dl3dv": DataSet(
        "DL3DV-10K", dl3dv.LOADER, PairRule(number=300, min_yaw_deg=50, max_yaw_deg=90, min_overlap=0.05), _OURS
    ),
    "navi": DataSet("NAVI", navi.LOADER, PairRule(number=300, min_yaw_deg=50, max_yaw_deg=90, min_overlap=0.05), _OURS),
    "eth3d": DataSet(
        "ETH3D, high resolution, MP-SfM's lists",
        colmap_truth.LOADER,
        PairRule(number=300, min_yaw_deg=30, max_yaw_deg=90, min_overlap=0.05),
        "No paper studies pairs of it; MP-SfM and GLUEMAP reconstruct it.",
    ),
    "imb": DataSet(
        "Image Matching Benchmark",
        imb.LOADER,
        PairRule(number=300, min_yaw_deg=30, max_yaw_deg=90, min_overlap=0.05),
        "Its own lists of pairs can be named in place of the rule.",
    ),
    "colmap": DataSet(
        "Folders with a COLMAP model as truth",
        colmap_truth.LOADER,
        PairRule(number=300, min_yaw_deg=30, max_yaw_deg=90, min_overlap=0.05),
        "As 1DSfM's collections have it, or a reconstruction of all photos of yours.",
    ),
    "strecha": DataSet(
        "Strecha's benchmark",
        strecha.LOADER,
        PairRule(number=None, min_yaw_deg=30, max_yaw_deg=90, per_photo=None, min_between=1, max_between=12),
        "All pairs in the range with 1 to 12 photos between them, of which ideal clips are made.",
    ),
}
