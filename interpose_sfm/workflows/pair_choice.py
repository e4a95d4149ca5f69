"""Which pairs COLMAP matches in a run over a folder of photos: a list of the user's, or what `retrieval` chooses."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from interpose_sfm.colmap.features import ChoosePairs
from interpose_sfm.options import MatchingMethod, ReconstructOptions
from interpose_sfm.pairs.view_graph import read_verified
from interpose_sfm.photos import gps
from interpose_sfm.products import ImagePair, PhotoSet
from interpose_sfm.retrieval import times
from interpose_sfm.retrieval.factory import rankings
from interpose_sfm.retrieval.pair_list import read_pair_file
from interpose_sfm.retrieval.pairing import Hints, chosen_rounds
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.content_keys import file_sha256

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairChoice:
    """How the pairs of one run are chosen.

    Attributes:
        photo_set: The photos.
        database_path: Holds their descriptors by the time that pairs are chosen.
        work_dir: Folder for temporary files.
        options: Of the run.
        log: Gets warnings.
    """

    photo_set: PhotoSet
    database_path: Path
    work_dir: Path
    options: ReconstructOptions
    log: RunLog

    @property
    def method(self) -> MatchingMethod:
        """What is done with so many photos."""
        return self.options.pairing.method_for(len(self._names), self.options.base.exhaustive_limit)

    def key_parts(self) -> tuple[object, ...]:
        """What the models depend on besides the options of the base stage; nothing where every pair is matched anyway.

        Raises:
            ValueError: See `chooser`.
        """
        if self.options.database is not None:  # which has the matches already
            return ()
        if self.method is MatchingMethod.EXHAUSTIVE:
            return () if len(self._names) <= self.options.base.exhaustive_limit else (self.method,)
        if self.method is MatchingMethod.LIST:
            return self.method, self._listed
        if self.method is MatchingMethod.SEQUENTIAL:
            return (self.method,)
        table = self.options.position_file
        positions = () if table is None else (file_sha256(table),)
        if self.method is MatchingMethod.SPATIAL:
            return self.method, *positions
        return self.method, self.options.pairing.retriever, *positions

    def chooser(self) -> ChoosePairs | None:
        """What chooses the pairs in rounds, once there are descriptors; None for every pair.

        Raises:
            ValueError: A list with none of the photos, or a line without two names; ``spatial`` without positions.
        """
        if self.method is MatchingMethod.EXHAUSTIVE:
            return None
        if self.method is MatchingMethod.LIST:
            return lambda: [self._listed]
        if self.method is MatchingMethod.SPATIAL and not self._hints.positions_m:
            raise ValueError("matching-method spatial needs GPS positions, and no two photos have one")
        return self._chosen

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(photo.name for photo in self.photo_set.photos)

    @cached_property
    def _hints(self) -> Hints:
        by_time = times.order_by_time(self.photo_set.image_dir, self._names)
        return Hints((self._names, by_time), gps.positions_m(self.photo_set.photos))

    def _chosen(self) -> Iterator[tuple[ImagePair, ...]]:
        verified = partial(read_verified, self.database_path)
        number = self.options.base.neighbours_per_photo
        for pairs in chosen_rounds(self._names, self.method, number, self._hints, self._rank, verified):
            logger.info("%d pairs of %d photos are matched (%s)", len(pairs), len(self._names), self.method)
            yield pairs

    def _rank(self, queries: Sequence[str], number: int) -> dict[str, Sequence[str]]:
        found = rankings(
            self._names,
            queries,
            number,
            image_dir=self.photo_set.image_dir,
            database_path=self.database_path,
            work_dir=self.work_dir,
            options=self.options,
        )
        return dict(found)

    @cached_property
    def _listed(self) -> tuple[ImagePair, ...]:
        """The pairs of the user's list, each once; those of photos that are not there are told and left out."""
        path, known = self.options.pairing.pair_list, frozenset(self._names)
        assert path is not None
        photo_set = self.photo_set
        listed = read_pair_file(path, [*self._names, *(photo.source for photo in photo_set.photos)])
        pairs = [(photo_set.image_name(a), photo_set.image_name(b)) for a, b in listed]
        usable = [pair for pair in pairs if known.issuperset(pair) and pair[0] != pair[1]]
        if not usable:
            raise ValueError(f"{path}: got no pair of photos of the folder, expected names such as {self._names[0]}")
        unknown = sorted({name for pair in pairs for name in pair if name not in known})
        if unknown:
            text = f"{len(unknown)} names of {path} are no photos of the folder, such as {unknown[0]}"
            self.log.warnings.append(f"{text}; their pairs are left out")
        return tuple(sorted({ImagePair.sorted(*pair) for pair in usable}))
