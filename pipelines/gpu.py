"""What the networks take on a GPU: learned matches, DA3 and DUSt3R per weak pair, and alignment.

Runs full-size networks, those without weights in the package with seeded random ones, since cost does not depend on
their values. Needs no download. Prints a table to be put into ``docs/results/gpu.md``, and writes nothing.

Usage: python pipelines/gpu.py [--device DEVICE] [--rounds N]

Two minutes on a present GPU; on the CPU, where it runs as well, some twenty.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from dust3r_cost import END, START, stage
from estimator_cost import random_network, rendered
from interpose_sfm.matching.lightglue import LearnedMatcher
from interpose_sfm.options import Da3Options, MatchingOptions, NetworkDtype
from interpose_sfm.options.devices import AUTO, pick_device
from interpose_sfm.pose.da3.network import Da3Network
from interpose_sfm.pose.dust3r import network as dust3r_network
from interpose_sfm.pose.dust3r import network_code
from interpose_sfm.pose.dust3r.checkpoint import VIT_LARGE_512_DPT
from interpose_sfm.pose.dust3r.inference import CachedInference, PairKey, all_ordered_pairs, tying_pairs
from interpose_sfm.pose.dust3r.network import Dust3rNetwork, PairNetwork
from interpose_sfm.pose.pictures import cut_alike
from interpose_sfm.pose.point_maps.alignment import align
from interpose_sfm.pose.point_maps.pair_geometry import sample
from interpose_sfm.products import View
from interpose_sfm.report import versions
from interpose_sfm.synthetic import orbit

Task = tuple[str, int, str, Callable[[], object]]
"""What is measured, of how many, the device with the number format, and the work."""

PAIRS, FRAMES = 8, 6  # pairs that are matched in a round; frames of a clip from which DUSt3R's economical way draws


def main() -> int:
    """Measure, and print rows of a Markdown table as they come."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default=AUTO, help="torch device; auto takes CUDA where it is there")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions; the median is told, after one that is not")
    arguments = parser.parse_args()
    device = pick_device(arguments.device, "device")
    is_cuda = device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if is_cuda else "the CPU: no GPU was measured"
    print(f"{name}; {', '.join(f'{package} {version}' for package, version in versions().items())}\n")
    print("| what | device, numbers | seconds | per second |\n|---|---|---|---|")
    for what, number, numbers, task in tasks(device):
        task()
        time_s = statistics.median(seconds(task, is_cuda) for _ in range(arguments.rounds))
        print(f"| {what} | {numbers} | {time_s:.3f} | {number / time_s:.2f} |", flush=True)
    return 0


def seconds(task: Callable[[], object], is_cuda: bool) -> float:
    """Wall seconds of a task, to the end of what it has left to the GPU."""
    start_s = time.perf_counter()
    task()
    if is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start_s


def tasks(device: str) -> Iterator[Task]:
    """All that is measured; a network lives as long as its tasks."""
    views = rendered((1024, 768), 2 + FRAMES)
    ends = [views[0], views[-1]]
    yield from matching(ends, device)
    for size in ("small", "base"):
        module = random_network(size)
        for dtype in (NetworkDtype.FLOAT32, NetworkDtype.BFLOAT16):
            net = Da3Network(module, "random weights", device, dtype)
            for shown in (ends, views):
                images = [crop.image for crop in cut_alike([view.image for view in shown], Da3Options().da3_size_px)]
                what = f"DA3-{size.upper()}, a pass over {len(images)} views of 4:3"
                yield what, 1, f"{device}, {dtype.value}", lambda net=net, images=images: net.guess(images)
    yield from dust3r(views, device)


def matching(ends: list[View], device: str) -> Iterator[Task]:
    """Key points of a photo, and matches of as many pairs as make a rate."""
    learned = LearnedMatcher(MatchingOptions(device=device))
    a, b = (learned.extract(view.image) for view in ends)
    yield "ALIKED, key points of a photo", 1, f"{device}, float32", lambda: learned.extract(ends[0].image)
    what = f"LightGlue, {PAIRS} pairs of {len(a.scores)} and {len(b.scores)} key points one after another"
    yield what, PAIRS, f"{device}, float32", lambda: [learned.match(a, b) for _ in range(PAIRS)]
    if device != "cpu":
        yield (
            f"LightGlue, {PAIRS} pairs together",
            PAIRS,
            f"{device}, float32",
            lambda: learned.match_all([(a, b)] * PAIRS),
        )


def dust3r(views: list[View], device: str) -> Iterator[Task]:
    """All pairs of a weak pair with a clip as the paper has it, those of the economical way, and alignment."""
    torch.manual_seed(0)
    module = dust3r_network.build_module(network_code.find_network_code(), dict(VIT_LARGE_512_DPT))
    keys = [view.key for view in views]
    ways = {"exact": all_ordered_pairs(keys), "economical": tying_pairs(keys)}
    for dtype in (NetworkDtype.FLOAT32, NetworkDtype.BFLOAT16):
        net = Dust3rNetwork(module, "random weights", device, dtype)
        for way, pairs in ways.items():
            what = f"DUSt3R, {way} of {len(keys)} views ({len(pairs)})"
            yield what, 1, f"{device}, {dtype.value}", lambda net=net, pairs=pairs: inferred(net, views, pairs)
    shown = stage(orbit(START, END, 5), 512)
    few = all_ordered_pairs([view.key for view in shown.views])
    found = inferred(shown.network(512), shown.views, few)
    samples = {(int(i), int(j)): sample(found.point_maps((i, j))) for i, j in few}
    cameras = [view.intrinsics for view in shown.views]
    yield "alignment of five views, closed form", 1, "cpu, float64", lambda: align(samples, cameras, 0)


def inferred(net: PairNetwork, views: Sequence[View], pairs: Sequence[PairKey]) -> CachedInference:
    """Point maps of pairs, with nothing kept from before."""
    inference = CachedInference(net, 512, 8)
    inference.compute(views, pairs)
    return inference


if __name__ == "__main__":
    raise SystemExit(main())
