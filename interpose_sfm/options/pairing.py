"""Which pairs of photos COLMAP matches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from interpose_sfm._compat import StrEnum
from interpose_sfm.options.checks import refuse_nan, require


class MatchingMethod(StrEnum):
    """How the pairs that COLMAP matches are chosen, in nerfstudio's words."""

    AUTO = "auto"
    EXHAUSTIVE = "exhaustive"
    SEQUENTIAL = "sequential"
    RETRIEVAL = "retrieval"
    SPATIAL = "spatial"
    LIST = "list"


@dataclass(frozen=True, kw_only=True)
class PairingOptions:
    """Which pairs COLMAP matches; all but ``exhaustive`` and ``list`` keep to neighbours_per_photo.

    Attributes:
        matching_method: ``exhaustive`` takes every pair, ``sequential`` photos next in name order and others at growing
            distance, ``retrieval`` photos that look alike, ``spatial`` photos taken near each other by GPS in EXIF,
            ``list`` those of pair_list. ``auto`` is the list where there is one, else exhaustive up to exhaustive_limit
            photos; above it retrieval, with what is next by name or time where these turn out to follow the pictures,
            and what is near by GPS.
        pair_list: File with the pairs to match, two names a line, as hloc and COLMAP have it.
        retriever: Name of what finds photos that look alike; ``vocabulary`` is a vocabulary tree of their own SIFT
            descriptors.
    """

    matching_method: MatchingMethod = MatchingMethod.AUTO
    pair_list: Path | None = None
    retriever: str = "vocabulary"

    def __post_init__(self) -> None:
        refuse_nan(self)
        object.__setattr__(self, "matching_method", MatchingMethod(self.matching_method))
        is_list = self.matching_method is MatchingMethod.LIST
        if is_list and self.pair_list is None:
            raise ValueError("matching-method list needs a file of pairs; name it with --pair-list")
        if self.pair_list is not None and not is_list and self.matching_method is not MatchingMethod.AUTO:
            raise ValueError(f"got a pair-list and the matching-method {self.matching_method}, expected one of them")
        require(bool(self.retriever), "retriever", self.retriever, "the name of a retriever")

    def method_for(self, num_photos: int, exhaustive_limit: int) -> MatchingMethod:
        """What is done with so many photos; ``auto`` only where it mixes several ways.

        Args:
            num_photos: Of the collection.
            exhaustive_limit: See `BaseOptions`.
        """
        if self.matching_method is not MatchingMethod.AUTO:
            return self.matching_method
        if self.pair_list is not None:
            return MatchingMethod.LIST
        return MatchingMethod.EXHAUSTIVE if num_photos <= exhaustive_limit else MatchingMethod.AUTO
