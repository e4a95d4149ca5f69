"""What every retriever owes its caller."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from interpose_sfm.retrieval import vocabulary
from interpose_sfm.retrieval.factory import RETRIEVERS, create_retriever
from interpose_sfm.retrieval.protocol import Retriever, RetrieverContext, checked_rankings
from places_in_database import write_places

PLACES = [[f"{place} {index}.jpg" for index in range(6)] for place in ("bridge", "church", "été", "tower")]
NAMES = tuple(sorted(name for place in PLACES for name in place))


class SameInitial(Retriever):
    """One of another distribution: alike is what begins alike."""

    name = "initial"

    def __init__(self, context: RetrieverContext) -> None:
        self._names = context.photo_names

    def rankings(self, queries: Sequence[str], number: int) -> Iterator[tuple[str, Sequence[str]]]:
        for query in queries:
            yield query, sorted(self._names, key=lambda name: name[0] != query[0])[: number + 1]


def context_of(folder: Path, path: Path, names: Sequence[str] = NAMES, seed: int = 0) -> RetrieverContext:
    return RetrieverContext(
        photo_names=tuple(names), image_dir=folder, database_path=path, work_dir=folder, seed=seed, num_threads=1
    )


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> RetrieverContext:
    folder = tmp_path_factory.mktemp("places")
    return context_of(folder, write_places(folder / "database.db", PLACES))


@pytest.fixture(scope="module", params=[*RETRIEVERS.builtin, "initial"])
def retriever(request: pytest.FixtureRequest, context: RetrieverContext) -> Retriever:
    if request.param == "initial":
        return SameInitial(context)
    return create_retriever(request.param, context)


def place_of(name: str) -> str:
    return name.split()[0]


def test_photos_of_one_place_come_first(retriever: Retriever) -> None:
    found = dict(checked_rankings(retriever, NAMES, 5, NAMES))
    assert found.keys() == set(NAMES)
    for name, others in found.items():
        assert {place_of(other) for other in others} == {place_of(name)}
        assert len(others) == 5
        assert name not in others


def test_only_what_was_asked_is_answered_and_no_more_than_that(retriever: Retriever) -> None:
    found = dict(checked_rankings(retriever, NAMES[3:5], 2, NAMES))
    assert found.keys() == set(NAMES[3:5])
    assert {len(others) for others in found.values()} == {2}


def test_more_than_there_are_gives_all_others(retriever: Retriever) -> None:
    (answer,) = checked_rankings(retriever, NAMES[:1], 1000, NAMES)
    assert len(answer[1]) >= 5
    assert len(set(answer[1])) == len(answer[1]) < len(NAMES)


def test_it_answers_again_and_alike(retriever: Retriever) -> None:
    first, second = (dict(checked_rankings(retriever, NAMES, 4, NAMES)) for _ in range(2))
    assert first == second


def test_nothing_is_asked_of_nothing(retriever: Retriever) -> None:
    assert list(checked_rankings(retriever, (), 5, NAMES)) == []


# ---------------------------------------------------------------- answers that break the contract


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([("nobody.jpg", [])], "an answer for 'nobody.jpg', which was not asked"),
        ([(NAMES[0], []), (NAMES[0], [])], "which was not asked"),
        ([(NAMES[0], ["nobody.jpg"])], "the name 'nobody.jpg', which no photo has"),
    ],
)
def test_answers_that_make_no_sense_are_refused(
    context: RetrieverContext, answers: list[tuple[str, list[str]]], message: str
) -> None:
    class Wrong(SameInitial):
        def rankings(self, queries: Sequence[str], number: int) -> Iterator[tuple[str, Sequence[str]]]:
            yield from answers

    with pytest.raises(ValueError, match=f"'initial'.*{message}"):
        dict(checked_rankings(Wrong(context), NAMES[:1], 5, NAMES))


def test_unknown_retrievers_are_refused(context: RetrieverContext) -> None:
    with pytest.raises(ValueError, match="unknown retriever 'netvlad', expected one of: vocabulary"):
        create_retriever("netvlad", context)


def test_one_of_another_distribution_is_found(
    context: RetrieverContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "initials-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: initials\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[interpose_sfm.retrievers]\ninitial = initials:Initials\n")
    (tmp_path / "initials.py").write_text(
        "from interpose_sfm.backends import Retriever\n\n\n"
        "class Initials(Retriever):\n"
        "    name = 'initial'\n\n"
        "    def __init__(self, context):\n        self.names = context.photo_names\n\n"
        "    def rankings(self, queries, number):\n        yield from ((q, self.names[:number]) for q in queries)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = create_retriever("initial", context)
    assert dict(checked_rankings(found, NAMES[-1:], 2, NAMES)) == {NAMES[-1]: NAMES[:2]}


# ---------------------------------------------------------------- the vocabulary tree


def test_a_photo_without_descriptors_looks_like_nothing(tmp_path: Path) -> None:
    bare = PLACES[1][0]
    path = write_places(tmp_path / "database.db", PLACES, bare=[bare])
    found = dict(checked_rankings(vocabulary.VocabularyTree(context_of(tmp_path, path)), NAMES, 5, NAMES))
    assert not found.get(bare)
    assert all(bare not in others for others in found.values())
    assert len(found[NAMES[0]]) == 5


def test_photos_that_do_not_count_are_no_answers(context: RetrieverContext) -> None:
    counted = NAMES[1:]
    tree = vocabulary.VocabularyTree(replace(context, photo_names=counted))
    found = dict(checked_rankings(tree, counted, 4, counted))
    assert found.keys() == set(counted)
    assert {len(others) for others in found.values()} == {4}


def test_a_database_of_other_features_has_no_tree(tmp_path: Path) -> None:
    """COLMAP would end over it."""
    path = write_places(tmp_path / "database.db", PLACES, undescribed=NAMES[:1])
    assert list(vocabulary.VocabularyTree(context_of(tmp_path, path)).rankings(NAMES, 5)) == []


@pytest.mark.parametrize("num_descriptors", [0, 40])
def test_too_few_descriptors_make_no_tree(tmp_path: Path, num_descriptors: int) -> None:
    path = write_places(tmp_path / "database.db", PLACES, num_descriptors=num_descriptors)
    tree = vocabulary.VocabularyTree(context_of(tmp_path, path))
    assert list(tree.rankings(NAMES, 5)) == []
    assert tree.path is None
    assert not list(tmp_path.glob("vocabulary*"))


def test_a_tree_is_built_once_for_the_same_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages of a run have one work folder; what is retrieved for other photos has another tree."""
    path = write_places(tmp_path / "database.db", PLACES)
    first = dict(vocabulary.VocabularyTree(context_of(tmp_path, path)).rankings(NAMES, 5))
    (tree,) = tmp_path.glob("vocabulary*")
    with monkeypatch.context() as patched:
        patched.setattr(pycolmap.VisualIndex, "create", lambda *_: pytest.fail("built again"))
        again = vocabulary.VocabularyTree(context_of(tmp_path, path))
        assert dict(again.rankings(NAMES, 5)) == first
        assert again.path == tree
    few = replace(context_of(tmp_path, path), photo_names=NAMES[:-2])
    dict(vocabulary.VocabularyTree(few).rankings(NAMES[:-2], 5))
    assert len(list(tmp_path.glob("vocabulary*"))) == 2


def test_the_sample_is_bounded_seeded_and_of_all_photos(context: RetrieverContext) -> None:
    with pycolmap.Database.open(context.database_path) as database:
        ids = [image.image_id for image in database.read_all_images()]
        few, again = (vocabulary.sampled_descriptors(database, ids, 480, seed=1) for _ in range(2))
        other = vocabulary.sampled_descriptors(database, ids, 480, seed=2)
        everything = vocabulary.sampled_descriptors(database, ids, 10**6, seed=1)
        scarce = vocabulary.sampled_descriptors(database, ids, 7, seed=1)
    assert few.shape == (480, 128)
    assert few.dtype == np.float32
    np.testing.assert_array_equal(few, again)
    assert not np.array_equal(few, other)
    assert len(everything) == 24 * 120
    assert len(scarce) == 7


def test_the_database_stays_as_it_is(context: RetrieverContext) -> None:
    def content() -> tuple[int, int, int]:
        with pycolmap.Database.open(context.database_path) as database:
            return database.num_descriptors(), database.num_matched_image_pairs(), database.num_images()

    before = content()
    dict(vocabulary.VocabularyTree(context).rankings(NAMES, 5))
    assert content() == before


def test_the_tree_is_built_without_a_word(context: RetrieverContext, capfd: pytest.CaptureFixture[str]) -> None:
    dict(vocabulary.VocabularyTree(context).rankings(NAMES[:1], 1))
    os.write(2, b"heard")
    assert "WARNING" not in (said := capfd.readouterr().err)
    assert "heard" in said
