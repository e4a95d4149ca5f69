"""A vocabulary tree of the collection's own SIFT descriptors, by pycolmap and offline.

The one that COLMAP would download was trained on other photos, and a machine without network aborts over it; a tree of
the photos at hand costs seconds.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from interpose_sfm.retrieval.protocol import Retriever, RetrieverContext
from interpose_sfm.storage.content_keys import content_key

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

DESCRIPTORS_PER_WORD = 39  # what faiss asks of a clustering
MIN_WORDS, MAX_WORDS = 64, 4096
MAX_FEATURES = 1000  # of a photo, the largest ones: more tell little and cost as much again
NUM_ROUNDS, NUM_ITERATIONS = 1, 8  # of the clustering
NUM_CHECKS = 8  # cells of words that are searched for the nearest one, while the tree is built


class VocabularyTree(Retriever):
    """Bags of words with Hamming embedding, as COLMAP has them; the tree is built at the first question.

    It lies in the work folder, where another one that is asked about the same photos finds it.

    Photos without descriptors look like nothing, and so do all photos where there are too few of them for a tree, or
    others than SIFT's.
    """

    name = "vocabulary"

    @classmethod
    def terms(cls, name: str) -> str:
        """See `Backend`."""
        return "no weights: sorts the SIFT descriptors of the photos at hand"

    def __init__(self, context: RetrieverContext) -> None:
        self._context = context
        self._is_tried = False
        self.path: Path | None = None
        """Where the tree lies; None before it is built, and where there is none."""

    def rankings(self, queries: Sequence[str], number: int) -> Iterator[tuple[str, Sequence[str]]]:
        """See `Retriever`."""
        import pycolmap

        with pycolmap.Database.open(self._context.database_path) as database:
            wanted = frozenset(self._context.photo_names)
            everything = {image.image_id: image.name for image in database.read_all_images()}
            names = {image_id: name for image_id, name in everything.items() if name in wanted}
            ids = {name: image_id for image_id, name in names.items()}
            if not self._is_tried:
                self._is_tried = True
                self.path = self._build(database, sorted(names)) if _has_sift(database, sorted(everything)) else None
            if self.path is None or not queries or number < 1:
                return
            options = pycolmap.VocabTreePairingOptions(
                vocab_tree_path=self.path,
                num_images=min(number + 1 + len(everything) - len(names), len(everything)),  # with the photo itself
                max_num_features=MAX_FEATURES,
                num_threads=self._context.num_threads,
            )
            generator = pycolmap.VocabTreePairGenerator(options, database, [ids[name] for name in queries])
            while not generator.has_finished():
                pairs = generator.next()
                if pairs:
                    others = [names[other] for query, other in pairs if other != query and other in names]
                    yield names[pairs[0][0]], others

    def _build(self, database: pycolmap.Database, image_ids: Sequence[int]) -> Path | None:
        """Train the tree and write it, unless it is there; None where there are too few descriptors."""
        import pycolmap

        sample = sampled_descriptors(database, image_ids, MAX_WORDS * DESCRIPTORS_PER_WORD, self._context.seed)
        num_words = min(len(sample) // DESCRIPTORS_PER_WORD, MAX_WORDS)
        if num_words < MIN_WORDS:
            logger.info("%d descriptors are too few for a vocabulary tree: no photos are retrieved", len(sample))
            return None
        path = self._context.work_dir / f"vocabulary-{content_key(sample)[:16]}.bin"
        if path.is_file():
            return path
        options = pycolmap.VisualIndex.BuildOptions(
            num_visual_words=num_words,
            num_rounds=NUM_ROUNDS,
            num_iterations=NUM_ITERATIONS,
            num_checks=NUM_CHECKS,
            num_threads=self._context.num_threads,
        )
        index = pycolmap.VisualIndex.create(128, 64)  # the length of SIFT's descriptors and of their embedding
        with _silent_stderr():
            index.build(options, pycolmap.FeatureDescriptorsFloat(pycolmap.FeatureExtractorType.SIFT, sample))
        partial = path.with_suffix(".partial")
        index.write(partial)
        partial.replace(path)
        return path


def _has_sift(database: pycolmap.Database, image_ids: Sequence[int]) -> bool:
    """Whether all photos of a database have SIFT descriptors: COLMAP indexes all of them, and others abort it.

    Databases of hloc hold key points without descriptors.
    """
    import pycolmap

    return all(
        database.exists_descriptors(image_id)
        and database.read_descriptors(image_id).type == pycolmap.FeatureExtractorType.SIFT
        for image_id in image_ids
    )


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Faiss warns there, past all logging, of the small trees that are wanted here."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def sampled_descriptors(
    database: pycolmap.Database, image_ids: Sequence[int], number: int, seed: int
) -> NDArray[np.float32]:
    """Descriptors drawn from all photos alike, so that a photo rich in texture does not make the words of the others.

    Args:
        database: Open.
        image_ids: Photos to draw from.
        number: At most so many, whatever the number of photos.
        seed: Equal seeds draw equal rows.

    Returns:
        (n, 128) float32.
    """
    per_photo = max(1, min(MAX_FEATURES, number // max(len(image_ids), 1)))
    drawn = [np.zeros((0, 128), np.float32)]
    total = 0
    for image_id in image_ids:
        descriptors = database.read_descriptors(image_id).data
        if descriptors.shape[1:] != (128,):
            continue
        rows = np.random.default_rng([seed, image_id]).permutation(len(descriptors))[: min(per_photo, number - total)]
        drawn.append(np.asarray(descriptors[np.sort(rows)], np.float32))
        total += len(rows)
    return np.concatenate(drawn)
