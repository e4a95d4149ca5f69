"""Which frames of a clip are kept where they are chosen by their matches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bridging_scene import camera, context, pan, write_folder
from interpose_sfm.bridging.clips_on_disk import ClipsGenerator
from interpose_sfm.clips.protocol import clip_requests
from interpose_sfm.options import BridgingOptions, FrameChoice
from interpose_sfm.pairs.relay_frames import Count, relay_frames
from interpose_sfm.products import ImagePair, View

PICTURE = np.zeros((8, 8, 3), np.uint8)


def views(number: int) -> list[View]:
    return [View(str(index), PICTURE, camera(PICTURE)) for index in range(number)]


A, B = (replace(view, key=key) for view, key in zip(views(2), "ab", strict=True))


def by_sharpness(sharp: Mapping[str, int]) -> tuple[list[tuple[str, str]], Count]:
    """A count of matches that the blurred one of two views limits, and what it was asked."""
    asked: list[tuple[str, str]] = []

    def count(one: View, other: View) -> int:
        asked.append((one.key, other.key))
        return min(sharp.get(one.key, 100), sharp.get(other.key, 100))

    return asked, count


def test_every_part_of_the_way_gives_its_sharpest_frame() -> None:
    asked, count = by_sharpness({str(index): 10 for index in range(12)} | {"0": 60, "5": 50, "6": 40, "10": 70})
    assert relay_frames(A, views(12), B, 4, count) == (0, 5, 6, 10)
    assert len(asked) == len(set(asked)) == 3 + 3 * 9 + 3


def test_a_frame_that_looks_like_one_side_alone_leads_nowhere() -> None:
    to_a, to_b = {"0": 90, "1": 50, "2": 20}, {"0": 10, "1": 40, "2": 95}

    def count(one: View, other: View) -> int:
        return to_a[other.key] if one is A else to_b[one.key]

    assert relay_frames(A, views(3), B, 1, count) == (1,)


def test_one_step_that_fails_outweighs_many_good_ones() -> None:
    """The sharpest frames of two parts may show different things."""
    matches = {("a", "0"): 90, ("a", "1"): 40, ("0", "2"): 0, ("0", "3"): 90, ("1", "2"): 40, ("1", "3"): 40}

    def count(one: View, other: View) -> int:
        return matches.get((one.key, other.key), {"2": 40, "3": 0}.get(one.key, 0))

    assert relay_frames(A, views(4), B, 2, count) == (1, 2)


def test_of_frames_that_match_alike_the_middle_ones_are_kept() -> None:
    assert relay_frames(A, views(9), B, 3, lambda one, other: 7) == (1, 4, 7)


@pytest.mark.parametrize("number", [3, 4])
def test_of_no_more_than_are_wanted_all_are_kept(number: int) -> None:
    asked, count = by_sharpness({})
    assert relay_frames(A, views(3), B, number, count) == (0, 1, 2)
    assert asked == []


def test_matches_are_prepared_before_they_are_asked_for() -> None:
    prepared: set[tuple[str, str]] = set()

    def count(one: View, other: View) -> int:
        assert (one.key, other.key) in prepared
        return int(one.key) if one is not A else 1

    relay_frames(A, views(6), B, 2, count, lambda pairs: prepared.update((one.key, other.key) for one, other in pairs))


def test_three_frames_are_read_for_every_step_of_the_way(tmp_path: Path) -> None:
    frames = pan(seed=5, num_frames=31)
    write_folder(tmp_path / "a__b", frames)
    photos, pair = {"a.jpg": frames[0], "b.jpg": frames[-1]}, ImagePair("a.jpg", "b.jpg")
    made = []
    for choice in FrameChoice:
        generator = ClipsGenerator(context(photos, clip_dirs=(tmp_path,), frames_per_clip=4, frame_choice=choice))
        made.append(generator.generate(pair, clip_requests(1, 0)[0]).frames)
    assert [len(read) for read in made] == [4, 14]
    even, pool = made
    for step, frame in enumerate(even, 1):  # those that are kept without a choice are among them
        np.testing.assert_array_equal(frame, pool[3 * step - 1])
    assert BridgingOptions().relay_frames is None
    assert BridgingOptions(frame_choice=FrameChoice.RELAY, frames_per_clip=4).relay_frames == 4
    with pytest.raises(ValueError, match="sharpest"):
        BridgingOptions(frame_choice="sharpest")  # type: ignore[arg-type]
