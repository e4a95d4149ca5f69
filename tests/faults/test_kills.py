"""Runs that are killed at any moment, over and over: the same command then comes to the same result.

``FAULT_KILLS`` says how many kills, ``FUZZ_SEED`` which; ``make reliability`` tries fifty.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from forked_runs import assert_same, found, runs
from interpose_sfm.colmap import databases
from interpose_sfm.colmap.model_files import check_model
from interpose_sfm.synthetic import SampleTruth

NUMBER = int(os.environ.get("FAULT_KILLS", "4"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
IN_A_ROW = 4
SHORTER = 0.6  # what the next run has left to do, about


def command(sample: SampleTruth, output: Path) -> list[str]:
    arguments = ["reconstruct", sample.photo_dir, "--output", output, "--clips", sample.clip_dir, "--accept-unseen"]
    few = ["--max-keypoints=256", "--num-random-subsets=1", "--max-bridged-pairs=1", "--max-weak-pairs=1", "-q"]
    return [*map(str, arguments), *few, "--num-threads=1", "--seed=0"]


@pytest.mark.long
@pytest.mark.timeout(0)
def test_a_killed_run_comes_to_the_same_result(
    small_sample: SampleTruth, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random(SEED)
    with runs() as process:
        begun_s = time.monotonic()
        assert process.run(command(small_sample, tmp_path / "whole")) == 0
        whole_s = time.monotonic() - begun_s
        expected = found(tmp_path / "whole")
        assert expected[0]
        num_killed = number = 0
        while num_killed < NUMBER:
            output = tmp_path / str(number)
            number += 1
            for turn in range(min(IN_A_ROW, NUMBER - num_killed)):
                code = process.run(command(small_sample, output), rng.uniform(0, whole_s * SHORTER**turn))
                assert code in (0, -9)
                num_killed += code == -9
                for model in output.glob("sparse/*"):  # what has its name is whole
                    check_model(model)
                if (output / "database.db").exists():
                    databases.check(output / "database.db")
            assert process.run(command(small_sample, output)) == 0
            assert_same(found(output), expected)
            assert not [*output.glob("**/.interpose_sfm-*")], "something half written was left"
    record_property("cases", num_killed)
    print(f"{num_killed} kills in {number} folders, each the same as a run of {whole_s:.1f} s")
