"""What others have published, to stand beside our figures. None of it was measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedRow:
    """One line of a table.

    Attributes:
        work: Who, where.
        what: The method and the pairs or photos.
        alone: Pair alone, or the method that it is compared with.
        ours: Their result.
        is_second_hand: Whether it was taken from another source than the paper.
    """

    work: str
    what: str
    alone: str
    ours: str
    is_second_hand: bool = False


INTERPOSE = "InterPose ([arXiv 2412.16155](https://arxiv.org/abs/2412.16155))"
POSECRAFTER = "PoseCrafter ([arXiv 2510.19527](https://arxiv.org/abs/2510.19527))"
EXPOSE = "ExPose (CVPR 2026)"
MPSFM = "MP-SfM ([arXiv 2504.20040](https://arxiv.org/abs/2504.20040))"
GLUEMAP = "GLUEMAP ([arXiv 2605.26103](https://arxiv.org/abs/2605.26103))"

PUBLISHED: Mapping[str, tuple[PublishedRow, ...]] = {
    "cambridge": (
        PublishedRow(INTERPOSE, "290 pairs, yaw 50 to 65; DUSt3R, Runway's videos", "R 13.28", "R 10.78"),
        PublishedRow(
            INTERPOSE, "the same; Luma's videos: average, D_med alone, their score", "-", "R 21.85, 19.37, 11.96"
        ),
    ),
    "scannet": (
        PublishedRow(
            INTERPOSE,
            "300 pairs, yaw 50 to 65; DUSt3R, Luma's videos",
            "R 21.31, T 24.72, AUC30 60.34",
            "R 17.65, T 15.88, AUC30 63.06",
        ),
        PublishedRow(INTERPOSE, "the same, oracle over all hypotheses", "-", "R 5.80, AUC30 81.19"),
        PublishedRow(POSECRAFTER, "pairs of its own; two video models, frames by matches", "R 25.1", "R 16.2", True),
    ),
    "dl3dv": (
        PublishedRow(INTERPOSE, "300 pairs, yaw 50 to 90; DUSt3R, Luma's videos", "R 10.72, T 13.08", "R 9.13, T 8.72"),
        PublishedRow(
            EXPOSE,
            "pairs of its own; VGGT or MapAnything, a video model tuned by poses",
            "AUC 48.1",
            "AUC 53.6",
            True,
        ),
    ),
    "navi": (
        PublishedRow(INTERPOSE, "300 pairs, yaw 50 to 90; DUSt3R, Luma's videos", "R 8.65, T 7.88", "R 7.85, T 6.51"),
    ),
    "eth3d": (
        PublishedRow(
            MPSFM,
            "sets without overlap of three views; AUC@1/5/20; compared with COLMAP with SuperPoint and LightGlue",
            "7.9 / 12.7 / 14.6",
            "34.9 / 67.2 / 81.7",
            True,
        ),
        PublishedRow(GLUEMAP, "all photos; AUC@1/3/5", "-", "53.0 / 76.9 / 83.6", True),
    ),
}

DIFFERENCES = """\
- **InterPose** places photos and frames with DUSt3R, whose weights are not at hand here; the default of this command is
  the embedded matcher. Its pairs are not published: those of the rule here are others of the same kind, as many, with
  the same yaw. DUSt3R always has a pose; the matcher may have none, which counts as wrong in accuracies and areas, and
  is left out of means, with the number of poses beside them. How the paper's tables treat the sign of a translation is
  not told; here *T* is the angle between lines, as in its Eq. 4, and *wrong* takes the sign.
- **PoseCrafter** and **ExPose** draw pairs of their own, with other ranges and other overlap; their figures are only to
  be compared with the pair alone in the same line.
- **MP-SfM** is told the true cameras, which `--sfm` is not, and uses monocular depth; it counts translations without
  sign, and averages the areas of scenes, where here those of sets are averaged. **GLUEMAP** reconstructs all photos.
"""
