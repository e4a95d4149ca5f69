"""Five real places in one folder, reconstructed as one collection: part ``together`` of ``scale.py``."""

from __future__ import annotations

import resource
import time
from collections import Counter
from pathlib import Path

from interpose_sfm.options import BaseOptions, ReconstructOptions
from interpose_sfm.workflows.reconstruct import reconstruct
from scale_engines import MATCHING
from scale_recall import SEED, SIFT_PX, Figures, shuffled_places

TOGETHER = ("castle-P30", "fountain-P11", "Herz-Jesus-P8", "buddha", "kermit")


def together(data: Path, work: Path) -> Figures:
    """Five places reconstructed as one collection; what of it joins places."""
    work = work / "together"
    told = shuffled_places(data, work, TOGETHER)
    options = ReconstructOptions(
        base=BaseOptions(exhaustive_limit=10, sift_max_image_px=SIFT_PX),
        matching=MATCHING,
        generator="none",
        seed=SEED,
        html=False,
    )
    cpu_s = time.process_time()
    result = reconstruct(work / "photos", work / "run", options)
    models = [Counter(told[name][0] for name in model.photos) for model in result.report.models]
    across = [
        {"pair": [told[pair.a], told[pair.b]], "verdict": str(pair.verdict), "detail": pair.detail}
        for pair in result.report.pairs
        if "learned matching" in pair.tried and told[pair.a][0] != told[pair.b][0]
    ]
    return {
        "photos": Counter(place for place, _ in told.values()),
        "models": models,
        "matched": sum("learned matching" in pair.tried for pair in result.report.pairs),
        "accepted": sum(pair.verdict == "accepted" for pair in result.report.pairs),
        "across": across,
        "warnings": list(result.report.warnings),
        "cpu_s": time.process_time() - cpu_s,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def told_together(found: Figures) -> str:
    """Which places the models hold, and what became of pairs across places."""
    photos = ", ".join(f"{place} {number}" for place, number in found["photos"].items())
    models = "\n".join(
        f"| {index} | {sum(model.values())} | {', '.join(f'{place} {number}' for place, number in model.items())} |"
        for index, model in enumerate(found["models"])
    )
    accepted = [row for row in found["across"] if row["verdict"] == "accepted"]
    links = "".join(f"\n- {' / '.join(row['pair'][0])} and {' / '.join(row['pair'][1])}" for row in accepted)
    return (
        f"## Five places in one folder\n\n{sum(found['photos'].values())} photos ({photos}), names shuffled, pairs by "
        f"retrieval; SIFT at {SIFT_PX} px, learned matching at {MATCHING.learned_max_image_px} px.\n\n"
        f"| model | photos | of |\n|---|---|---|\n{models}\n\n{found['matched']} weak pairs were matched, "
        f"{found['accepted']} links accepted. Of {len(found['across'])} pairs across places {len(accepted)} were "
        f"accepted{':' if accepted else '.'}{links}\n\nIt took {found['cpu_s']:.0f} s of processor time, "
        f"{found['peak_mib']:.0f} MiB at most. castle-P30 and fountain-P11 are of one castle, whose courtyard stands "
        "behind the fountain: where a model holds both, COLMAP's own matches have joined them."
    )
