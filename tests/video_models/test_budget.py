"""What may be spent, while several workers spend it."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_records import VIDEO, A, B, record
from interpose_sfm.options import GenerationOptions
from interpose_sfm.video_models.budget import Budget
from interpose_sfm.video_models.clip_store import ClipStore
from interpose_sfm.video_models.protocol import ClipEstimate, GenerationError

HALF = ClipEstimate(cost_usd=0.5)


@pytest.fixture
def budget(tmp_path: Path) -> Budget:
    return Budget(ClipStore(tmp_path, (A, B)), GenerationOptions(max_cost=1.0))


def test_what_is_set_aside_counts_until_it_is_given_back(budget: Budget) -> None:
    full = pytest.raises(GenerationError, match=r"\$1\.00 were spent")
    with budget.reserved("k0", HALF), budget.reserved("k1", HALF), full, budget.reserved("k2", HALF):
        pass
    with budget.reserved("k1", HALF), budget.reserved("k2", HALF):
        pass


def test_a_clip_that_is_just_finished_counts_once(budget: Budget) -> None:
    """Its worker has saved it, and has not yet given back what it set aside."""
    with budget.store.locked(), budget.reserved("k0", HALF):
        budget.store.save(record("k0", cost_usd=0.5), VIDEO, 0)
        with budget.reserved("k1", HALF):
            pass
        budget.store.save(record("k1", cost_usd=0.5), VIDEO, 1)
        with pytest.raises(GenerationError, match=r"\$1\.00 were spent"), budget.reserved("k2", HALF):
            pass


def test_without_a_limit_only_what_costs_nothing_is_made(tmp_path: Path) -> None:
    budget = Budget(ClipStore(tmp_path, (A, B)), GenerationOptions())
    with budget.reserved("k0", ClipEstimate()):
        pass
    with pytest.raises(GenerationError, match="would pass --max-cost"), budget.reserved("k1", HALF):
        pass
