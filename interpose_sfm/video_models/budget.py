"""What may be spent on clips, and what was."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from interpose_sfm.clips.protocol import BudgetError
from interpose_sfm.options import GenerationOptions
from interpose_sfm.video_models.clip_store import ClipStore
from interpose_sfm.video_models.protocol import ClipEstimate, GenerationError

_CENT = 0.01


@dataclass
class Budget:
    """Keeps what a store's clips cost in all below ``max_cost``.

    Attributes:
        store: Its finished clips count, and so do those that a service was asked for and that never arrived.
        options: Hold the limit.
    """

    store: ClipStore
    options: GenerationOptions
    _reserved: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, wanted: Sequence[tuple[str, ClipEstimate]], name: str) -> None:
        """See whether all wanted clips can be paid for.

        Args:
            wanted: Key and estimate of every clip that is to be made.
            name: Of the generator, for the message.

        Raises:
            BudgetError: They cannot; the message says what they cost and what to set.
        """
        to_pay = [estimate for key, estimate in wanted if self.is_to_be_paid(key, estimate)]
        cost = sum(estimate.cost_usd for estimate in to_pay)
        if cost <= 0:
            return
        spent, limit = self.store.spent_usd(), self.options.max_cost
        if limit is not None and spent + cost <= limit + _CENT / 2:
            return
        needed = math.ceil(round((spent + cost) / _CENT, 6)) * _CENT
        so_far = f", and ${spent:.2f} were spent on clips in {self.store.folder}" if spent else ""
        allowed = "" if limit is None else f", --max-cost allows ${limit:.2f} in all"
        raise BudgetError(
            f"{len(to_pay)} clips of {name!r} are missing and would cost about ${cost:.2f} "
            f"({to_pay[0].basis or 'an estimate'}){so_far}{allowed}; nothing was spent now: to go on, set "
            f"--max-cost {needed:.2f}",
            limit,
        )

    def is_to_be_paid(self, key: str, estimate: ClipEstimate) -> bool:
        """Whether making a clip costs something that no earlier run has paid."""
        if estimate.cost_usd <= 0:
            return False
        return self.options.repeat_lost or not self.store.task(key).read()

    @contextmanager
    def reserved(self, key: str, estimate: ClipEstimate) -> Iterator[None]:
        """Set the price of a clip aside while it is made; what was paid in the end is in its record or its notes.

        Raises:
            GenerationError: Others have cost more than was expected, so that the limit would be passed.
        """
        if not self.is_to_be_paid(key, estimate):
            yield
            return
        with self._lock:
            spent = self.store.spent_usd(self._reserved)
            limit = self.options.max_cost
            if limit is None or spent + estimate.cost_usd > limit + _CENT / 2:
                raise GenerationError(
                    f"${spent:.2f} were spent, and a clip of ${estimate.cost_usd:.2f} would pass --max-cost"
                )
            self._reserved[key] = estimate.cost_usd
        try:
            yield
        finally:
            with self._lock:
                del self._reserved[key]
