"""What a run opens to find relative poses, and that it is closed again."""

from __future__ import annotations

import errno
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import crossfade
import lost_estimator
from bridging_scene import camera, pan
from crossfade import made
from interpose_sfm.bridging import factory as generators
from interpose_sfm.engines.slurm import SlurmEngine
from interpose_sfm.matching.ahead import PairJob
from interpose_sfm.matching.cache import PhotoViews
from interpose_sfm.options import Da3Options, Dust3rOptions, EngineOptions, MatchingOptions, ReconstructOptions
from interpose_sfm.pose import factory as estimators
from interpose_sfm.pose.da3.estimator import Da3Estimator
from interpose_sfm.pose.protocol import EstimatorContext
from interpose_sfm.products import ChoiceReason, DepthSamples, ImagePair, Placement, Pose
from interpose_sfm.registry import MissingDependencyError
from interpose_sfm.workflows.posers import PairWork, opened_posers
from known_proposer import TARGETS as KNOWN
from known_proposer import KnownProposer

PAIR = ImagePair("a.jpg", "b.jpg")
TABLE = estimators.POSE_ESTIMATORS
OPTIONS = ReconstructOptions(generator="crossfade", pose_estimator="lost", seed=3)


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the video model makes; it and the estimator are in their tables for this test."""
    table = estimators.POSE_ESTIMATORS
    monkeypatch.setattr(estimators, "POSE_ESTIMATORS", replace(table, builtin=lost_estimator.TARGETS))
    monkeypatch.setattr(generators, "VIDEO_MODELS", crossfade.with_models())
    monkeypatch.setattr(lost_estimator.LostEstimator, "built", [])
    monkeypatch.setenv("CROSSFADE_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


@pytest.fixture
def views(tmp_path: Path) -> PhotoViews:
    folder = tmp_path / "photos"
    folder.mkdir()
    frames = pan(seed=5, num_frames=2)
    for name, frame in zip((PAIR.a, PAIR.b), frames, strict=True):
        Image.fromarray(frame).save(folder / name)
    return PhotoViews(folder, dict.fromkeys((PAIR.a, PAIR.b), replace(camera(frames[0]), is_trusted=True)))


def test_one_estimator_serves_all_cameras_of_a_run_and_is_closed(tmp_path: Path, views: PhotoViews, log: Path) -> None:
    wider = replace(views, cameras={name: replace(c, focal_px=250.0) for name, c in views.cameras.items()})
    with opened_posers(tmp_path / "stores", (PAIR.a, PAIR.b), tmp_path / "clips", OPTIONS) as posers:
        for seen in (views, wider):
            outcome = posers.poser(seen).bridge(PAIR)
            assert outcome.choice.reason is ChoiceReason.NO_HYPOTHESIS
        (estimator,) = lost_estimator.LostEstimator.built
        assert {view.intrinsics.focal_px for view in estimator.seen if view.image.shape[1] == 320} == {300.0, 250.0}
        assert estimator.num_closed == 0
    assert estimator.num_closed == 1
    assert len(made(log)) == OPTIONS.consistency.num_clips
    assert estimator.context.store_dir == tmp_path / "stores"
    assert estimator.context.seed == 3
    assert estimator.context.options is None


def test_an_estimator_is_closed_also_when_the_run_fails(tmp_path: Path) -> None:
    with (
        pytest.raises(InterruptedError),
        opened_posers(tmp_path / "stores", (PAIR.a, PAIR.b), tmp_path / "clips", OPTIONS),
    ):
        raise InterruptedError
    assert [estimator.num_closed for estimator in lost_estimator.LostEstimator.built] == [1]


def test_every_estimator_gets_its_own_group_of_options() -> None:
    options = ReconstructOptions(dust3r=Dust3rOptions(dust3r_size_px=128), da3=Da3Options(da3_size_px=112))
    groups = {"da3": options.da3, "dust3r": options.dust3r, "mapanything": options.mapanything}
    assert options.estimator_options == groups


# ---------------------------------------------------------------- which estimators a run has


@pytest.fixture
def builtin(monkeypatch: pytest.MonkeyPatch) -> EstimatorContext:
    """The table as it is; the matcher and the networks load nothing when they are built."""
    monkeypatch.setattr(estimators, "POSE_ESTIMATORS", TABLE)
    return EstimatorContext(features=lambda view: pytest.fail("asked"), matches=lambda a, b: pytest.fail("asked"))


@pytest.mark.parametrize(("is_here", "proposer"), [(True, "da3"), (False, None)])
def test_without_a_name_matches_place_frames_and_a_free_network_that_is_here_proposes(
    builtin: EstimatorContext, monkeypatch: pytest.MonkeyPatch, is_here: bool, proposer: str | None
) -> None:
    if Da3Estimator.missing_requirements():
        pytest.skip("Depth Anything 3 is not installed")
    asked = []
    options = Da3Options(da3_weights="base")
    monkeypatch.setattr(Da3Estimator, "has_weights", lambda given: asked.append(given) or is_here)
    found = estimators.create_estimators("auto", builtin, {"da3": options})
    assert [each and each.name for each in found] == ["matcher", proposer]
    assert asked == [options]
    assert ReconstructOptions().pose_estimator == "auto"
    monkeypatch.setattr(Da3Estimator, "missing_requirements", lambda: {"torch": "pip install torch"})
    assert estimators.create_estimators("auto", builtin)[1] is None


@pytest.mark.parametrize(("name", "proposes"), [("matcher", False), ("dust3r", True), ("da3", True)])
def test_an_estimator_that_is_named_proposes_if_it_can(builtin: EstimatorContext, name: str, proposes: bool) -> None:
    try:
        estimator, proposer = estimators.create_estimators(name, builtin)
    except MissingDependencyError as error:
        pytest.skip(str(error))
    assert estimator.name == name
    assert proposer is (estimator if proposes else None)


# ---------------------------------------------------------------- ahead, by an engine


@pytest.fixture
def by_debug() -> EngineOptions:
    """The executor of submitit that works in this process, where the tables of the tests hold."""
    pytest.importorskip("submitit")
    return EngineOptions(engine="slurm", slurm_cluster="debug")


def test_what_a_network_proposed_in_a_worker_is_not_asked_again(
    tmp_path: Path, views: PhotoViews, by_debug: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimators, "POSE_ESTIMATORS", replace(TABLE, builtin=KNOWN))
    monkeypatch.setattr(KnownProposer, "asked", [])
    options = replace(OPTIONS, generator="none", pose_estimator="da3", execution=by_debug)
    names = PAIR.a, PAIR.b
    with opened_posers(tmp_path / "stores", names, tmp_path / "clips", options) as posers:
        poser = posers.poser(views)
        with posers.ahead(PairWork.PROPOSE, poser, views, [PairJob((PAIR,))]) as ahead:
            ahead.wait(PAIR)
        assert len(KnownProposer.asked) == 1
        poser.propose(PAIR)
        assert len(KnownProposer.asked) == 1
    assert sorted(path.name for path in (tmp_path / "stores").iterdir()) == [
        "features.h5", "hypotheses.h5", "matches.h5"
    ]  # fmt: skip


@pytest.mark.parametrize(("device", "sent_device", "gpus"), [("cuda", "cuda", 0.5), ("auto", "cpu", 0.0)])
def test_workers_elsewhere_get_the_device_under_which_their_results_are_looked_for(
    tmp_path: Path, views: PhotoViews, monkeypatch: pytest.MonkeyPatch, device: str, sent_device: str, gpus: float
) -> None:
    pytest.importorskip("submitit")
    sent = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(SlurmEngine, "map", lambda _, make, jobs, **each: sent.append((make, each)) or iter(jobs))
    execution = EngineOptions(engine="slurm", worker_gpus=0.5)
    options = replace(OPTIONS, generator="none", execution=execution, matching=MatchingOptions(device=device))
    with opened_posers(tmp_path / "stores", (PAIR.a, PAIR.b), tmp_path / "clips", options) as posers:
        posers.matching(posers.poser(views), views, [PAIR])
        assert posers.cache.options.device == sent_device
    ((maker, taken),) = sent
    assert maker.options.matching == posers.cache.options
    assert taken == {"gpus": gpus}


def test_processes_are_not_let_loose_on_a_disk_without_locks(
    tmp_path: Path, by_debug: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would seem to be alone there, and clean up what the others are writing."""

    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    arguments = tmp_path / "stores", (PAIR.a, PAIR.b), tmp_path / "clips"
    options = replace(OPTIONS, generator="none", execution=by_debug)
    refused = pytest.raises(ValueError, match=r"engine slurm: .*stores is on a disk without file locks.*--store")
    with refused, opened_posers(*arguments, options):
        pytest.fail("it is opened")
    with opened_posers(*arguments, replace(options, execution=EngineOptions())):
        pass


@pytest.mark.parametrize("work", PairWork)
def test_what_makes_a_worker_can_be_sent_to_it(
    tmp_path: Path, views: PhotoViews, by_debug: EngineOptions, monkeypatch: pytest.MonkeyPatch, work: PairWork
) -> None:
    """Also where a network is told the poses of base models, which cannot be sent."""
    sent = []
    monkeypatch.setattr(SlurmEngine, "map", lambda _, make, jobs, **__: sent.append(make) or iter(jobs))
    options = replace(OPTIONS, generator="none", execution=by_debug)
    place = Placement(0, Pose(np.eye(3), np.zeros(3)), DepthSamples())
    views = replace(views, placement=lambda name: place)
    with opened_posers(tmp_path / "stores", (PAIR.a, PAIR.b), tmp_path / "clips", options) as posers:
        monkeypatch.setattr(lost_estimator.LostEstimator, "takes_placements", True, raising=False)
        posers.ahead(work, posers.poser(views), views, ())
    (maker,) = pickle.loads(pickle.dumps(sent))
    found = maker.views.placement(PAIR.a)
    assert (found is not None) == (work is PairWork.PROPOSE)
    assert maker.views.cameras == views.cameras
