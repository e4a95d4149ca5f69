"""The order of the stages of the fallback, and which pairs it comes back to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from geometry_scenes import DatabaseOptions, all_rows, arc, cloud, link_of, observe, true_model, write_database
from interpose_sfm.engines.local import in_threads
from interpose_sfm.engines.protocol import Done, WorkerDiedError
from interpose_sfm.matching.ahead import Ahead, bundled
from interpose_sfm.options import ReconstructOptions
from interpose_sfm.pairs.decide import Findings
from interpose_sfm.pairs.records import PairRecord
from interpose_sfm.products import ImagePair, LinkDecision, LinkVerdict, ViewGraph, WeakPair
from interpose_sfm.run_log import RunLog
from interpose_sfm.workflows import fallback
from interpose_sfm.workflows.extension import Base, Extension

OPTIONS = ReconstructOptions(generator="none")
NAMES = tuple(f"{view}.jpg" for view in range(6))
SCENE = observe(cloud(1, 250), arc([0, 10, 20, 30, 40, 50]), noise_px=0.3, seed=1)
NOT_NEEDED = "not needed: other links connect the photos already"


@pytest.fixture
def base(tmp_path: Path) -> Base:
    """A model of the first four photos."""
    path = write_database(tmp_path / "database.db", SCENE, NAMES, DatabaseOptions(rows=all_rows(SCENE, range(4))))
    model = true_model(path, SCENE, NAMES, range(4))
    return Base(path, tmp_path, NAMES, (model,), (frozenset(NAMES[:4]),))


def graph_of(pairs: list[tuple[int, int]]) -> ViewGraph:
    weak = tuple(WeakPair(ImagePair(NAMES[a], NAMES[b]), (), 0) for a, b in pairs)
    return ViewGraph(NAMES, {}, (), (frozenset(NAMES[:4]),), frozenset(NAMES[4:]), weak)


def test_needless_pairs_of_photos_that_their_links_could_not_place_are_matched_after_all(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    matched: list[int] = []
    monkeypatch.setattr(fallback.FallbackRun, "match_pair", lambda _, index: matched.append(index))
    ahead = Ahead(in_threads(lambda: lambda _: None, (), 1))
    posers: Any = SimpleNamespace(poser=lambda _: None, matching=lambda *_: ahead, take_placements=False)
    run = fallback.FallbackRun(base, graph_of([(3, 4), (2, 4), (1, 5), (0, 1)]), posers, OPTIONS, RunLog())
    accepted = LinkDecision(LinkVerdict.ACCEPTED, "", link_of(SCENE, NAMES, 3, 4))
    run.records = [
        PairRecord(run.records[0].weak, Findings(), accepted),
        *(record.after(Findings(skipped=NOT_NEEDED), OPTIONS.consensus) for record in run.records[1:]),
    ]
    assert not run.match_after_all(Extension((), base.models))
    assert matched == [1]  # photo 5 is not linked, and photos 0 and 1 are placed
    assert [record.findings.skipped for record in run.records[1:]] == ["", NOT_NEEDED, NOT_NEEDED]


def test_a_pair_that_no_worker_survives_is_told_and_the_others_are_matched(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    matched: list[int] = []
    monkeypatch.setattr(fallback.FallbackRun, "match_pair", lambda _, index: matched.append(index))

    def matching(poser: object, views: object, pairs: Iterable[ImagePair]) -> Ahead:
        died = WorkerDiedError("2 workers died of it")
        return Ahead(Done(job, error=died if job.pairs[0].b == NAMES[5] else None) for job in bundled(pairs, 1))

    posers: Any = SimpleNamespace(poser=lambda _: None, matching=matching, take_placements=False)
    run = fallback.FallbackRun(base, graph_of([(3, 4), (1, 5), (2, 4)]), posers, OPTIONS, RunLog())
    run.match_weak_pairs()
    assert matched == [0, 2]
    assert [record.findings.skipped for record in run.records] == ["", "not matched: 2 workers died of it", ""]


@pytest.mark.parametrize(("sizes", "kept"), [((4, 5), 1), ((5, 4), 0)])
def test_links_are_mapped_again_with_them_and_nothing_is_lost_by_that(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int], kept: int
) -> None:
    done: list[str] = []
    models = [true_model(base.database_path, SCENE, NAMES, range(size)) for size in sizes]
    found = [Extension((), (model,), None, (f"warning {k}",)) for k, model in enumerate(models)]

    class Run:
        records = ()

        def __getattr__(self, name: str) -> Any:
            return lambda *_: done.append(name)

        def map_links(self, folder: Path) -> Extension:
            done.append("map_links")
            return found[folder != tmp_path]

        def match_after_all(self, extension: Extension) -> bool:
            assert extension is found[0]
            return True

    @contextmanager
    def opened(*_: object) -> Iterator[Run]:
        yield Run()

    monkeypatch.setattr(fallback, "opened_run", opened)
    monkeypatch.setattr(fallback, "build_graph", lambda *_: graph_of([(3, 4)]))
    log = RunLog()
    assert fallback.extend_base(base, tmp_path, tmp_path, OPTIONS, log).models is found[kept].models
    stages = ["match_weak_pairs", "match_beside_links", "calibrate", "propose", "bridge", "settle", "map_links"]
    assert done == [*stages, "settle", "map_links"]
    assert log.warnings == [f"warning {kept}"]
