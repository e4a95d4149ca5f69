"""Work shared out without an engine: each machine takes its share, and the results go together by content."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from interpose_sfm.options.checks import require


@dataclass(frozen=True)
class Shard:
    """One of several equal shares.

    Attributes:
        index: Which one, from 1.
        number: How many there are.
    """

    index: int = 1
    number: int = 1

    def __post_init__(self) -> None:
        require(1 <= self.index <= self.number, "shard", str(self), "I/N with I from 1 to N, such as 2/4")

    def __str__(self) -> str:
        return f"{self.index}/{self.number}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read a share such as ``2/4``.

        Raises:
            ValueError: It is none.
        """
        found = re.fullmatch(r"\s*([0-9]{1,6})\s*/\s*([0-9]{1,6})\s*", text)
        require(found is not None, "shard", text, "I/N with I from 1 to N, such as 2/4")
        assert found is not None
        return cls(int(found[1]), int(found[2]))

    def holds(self, *names: str) -> bool:
        """Whether something belongs to this share, by its names alone: no machine need know the lists of the others.

        Args:
            names: Of photos, or a key.
        """
        digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.number == self.index - 1
