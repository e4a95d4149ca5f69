"""What every engine does alike: real Ray, and the executors of submitit that need no Slurm."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import engine_workers
from engine_workers import Squares, broken_maker, deadly_maker, noted
from interpose_sfm.engines.factory import ENGINES, create_engine
from interpose_sfm.engines.protocol import Engine, EngineError, WorkerDiedError
from interpose_sfm.options import EngineOptions, ReconstructOptions
from interpose_sfm.registry import MissingDependencyError
from interpose_sfm.storage.names import refuse_links
from interpose_sfm.workflows.start_checks import check_options

NAMES = ("local", "slurm debug", "slurm local", "ray")
OF_PROCESSES = NAMES[2:]


def _parameter(name: str) -> object:
    module = {"ray": "ray", "slurm": "submitit"}.get(name.partition(" ")[0])
    is_missing = module is not None and importlib.util.find_spec(module) is None
    marks = [pytest.mark.skipif(is_missing, reason=f"{module} is not installed")]
    return pytest.param(name, marks=[*marks, pytest.mark.long] if name == "ray" else marks)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray with room for four workers, whatever this machine has."""
    import cloudpickle
    import ray

    for name, value in {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}.items():
        pytest.MonkeyPatch().setenv(name, value)
    ray.cloudpickle.register_pickle_by_value(engine_workers)
    cloudpickle.register_pickle_by_value(engine_workers)
    ray.init(num_cpus=4, num_gpus=0, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    kind, _, executor = request.param.partition(" ")
    if kind == "ray":
        request.getfixturevalue("cluster")
    if kind == "slurm":
        import cloudpickle

        cloudpickle.register_pickle_by_value(engine_workers)
    options = EngineOptions(engine=kind, engine_workers=2, slurm_cluster=executor or "slurm", slurm_minutes=5)
    engine = create_engine(options, tmp_path / "engine")
    yield engine
    engine.close()


every_engine = pytest.mark.parametrize("engine", [_parameter(name) for name in NAMES], indirect=True)
of_processes = pytest.mark.parametrize("engine", [_parameter(name) for name in OF_PROCESSES], indirect=True)


@every_engine
def test_every_job_is_done_once_by_few_workers(engine: Engine, tmp_path: Path) -> None:
    done = list(engine.map(Squares(tmp_path / "notes"), range(7)))
    assert sorted((each.job, each.value, each.error) for each in done) == [(n, n * n, None) for n in range(7)]
    assert [noted(tmp_path / "notes", f"job {n}") for n in range(7)] == [1] * 7
    assert 1 <= noted(tmp_path / "notes", "worker") <= 2
    assert engine.shares_memory == (engine.name == "local")


@every_engine
def test_what_a_job_raises_is_told_and_not_tried_again(engine: Engine, tmp_path: Path) -> None:
    done = {each.job: each for each in engine.map(Squares(tmp_path / "notes", wrong=1), range(4))}
    assert [done[n].value for n in (0, 2, 3)] == [0, 4, 9]
    assert isinstance(done[1].error, LookupError)
    assert "1 is wrong" in str(done[1].error)
    assert noted(tmp_path / "notes", "job 1") == 1


@every_engine
def test_a_worker_that_cannot_be_made_is_an_error(engine: Engine) -> None:
    with pytest.raises(FileNotFoundError, match="no weights"):
        list(engine.map(broken_maker, range(4)))


@every_engine
def test_later_jobs_may_depend_on_what_is_done(engine: Engine, tmp_path: Path) -> None:
    """As the pairs that are matched next depend on the links found so far."""
    squares: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(200):
            if len(squares) >= 3:
                return
            yield number

    for done in engine.map(Squares(tmp_path / "notes"), jobs()):
        assert done.value is not None
        squares.append(done.value)
    assert 3 <= len(squares) <= 3 + 2 * 16  # what was under way


@every_engine
def test_nothing_to_do_makes_no_worker(engine: Engine) -> None:
    assert list(engine.map(broken_maker, iter(()))) == []


@every_engine
def test_who_leaves_early_stops_the_workers(engine: Engine, tmp_path: Path) -> None:
    with contextlib.closing(engine.map(Squares(tmp_path / "notes", time_s=0.2), iter(range(500)))) as results:
        next(results)
    begun = len(list((tmp_path / "notes").glob("job *")))
    assert begun <= 40
    assert sorted(each.value or 0 for each in engine.map(Squares(tmp_path / "notes"), range(3))) == [0, 1, 4]


@of_processes
def test_relative_paths_mean_to_workers_what_they_mean_here(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert [each.value for each in engine.map(Squares(Path("notes")), [3])] == [9]
    assert noted(tmp_path / "here" / "notes", "job 3") == 1


@of_processes
def test_a_worker_that_dies_costs_no_job(engine: Engine, tmp_path: Path) -> None:
    work = Squares(tmp_path / "notes", deadly=2, deadly_times=1)
    assert sorted(each.value or 0 for each in engine.map(work, range(5))) == [0, 1, 4, 9, 16]
    assert noted(tmp_path / "notes", "job 2") == 2


@pytest.mark.long
@of_processes
def test_a_job_that_kills_its_workers_is_given_up_and_the_others_are_done(engine: Engine, tmp_path: Path) -> None:
    done = {each.job: each for each in engine.map(Squares(tmp_path / "notes", deadly=2), range(5))}
    assert [done[n].value for n in (0, 1, 3, 4)] == [0, 1, 9, 16]
    assert isinstance(done[2].error, WorkerDiedError)
    assert noted(tmp_path / "notes", "job 2") == 2


@pytest.mark.parametrize("engine", [_parameter("ray")], indirect=True)
def test_workers_that_die_as_they_start_are_no_matter_of_a_job(engine: Engine) -> None:
    """Else the pair that is waited for is given up, and all others are matched here."""
    with pytest.raises(EngineError, match="3 workers died as they started"):
        list(engine.map(deadly_maker, range(4)))


def test_runs_that_share_a_store_leave_the_files_of_each_others_jobs_alone(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    import cloudpickle

    cloudpickle.register_pickle_by_value(engine_workers)
    options = EngineOptions(engine="slurm", engine_workers=2, slurm_cluster="local", slurm_minutes=5)
    first, second = (create_engine(options, tmp_path / "engine") for _ in range(2))
    with contextlib.closing(first.map(Squares(tmp_path / "notes", time_s=0.5), range(3))) as results:
        found = [next(results)]
        second.close()
        found += results
    assert sorted(each.value or 0 for each in found) == [0, 1, 4]
    assert [each.error for each in found] == [None] * 3
    first.close()
    assert not (tmp_path / "engine").exists()


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_a_ray_of_our_own_has_room_for_all_workers_and_ends(tmp_path: Path) -> None:
    import ray

    ray.cloudpickle.register_pickle_by_value(engine_workers)
    ray.shutdown()
    engine = create_engine(EngineOptions(engine="ray", engine_workers=3), tmp_path)
    try:
        done = engine.map(Squares(tmp_path / "notes", time_s=2.0), range(6))
        assert next(done).error is None
        assert sorted(each.value or 0 for each in done)[-1] >= 16
        assert noted(tmp_path / "notes", "worker") == 3
    finally:
        engine.close()
    assert not ray.is_initialized()


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_without_an_address_no_cluster_is_joined_and_a_signal_ends_the_run_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As within a job of Ray's, whose environment names its cluster."""
    import ray

    ray.cloudpickle.register_pickle_by_value(engine_workers)
    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    before = signal.getsignal(signal.SIGTERM)
    engine = create_engine(EngineOptions(engine="ray", engine_workers=1), tmp_path)
    try:
        assert [each.value for each in engine.map(Squares(tmp_path / "notes"), [3])] == [9]
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        engine.close()


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_a_machine_that_joins_late_is_used(tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    ray.cloudpickle.register_pickle_by_value(engine_workers)
    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        ray.init(cluster.address, log_to_driver=False)
        engine = create_engine(EngineOptions(engine="ray"), tmp_path)
        results = engine.map(Squares(tmp_path / "notes", time_s=0.5), range(40))
        first = [next(results) for _ in range(2)]
        assert noted(tmp_path / "notes", "worker") == 1
        cluster.add_node(num_cpus=1)
        assert sorted(each.job for each in (*first, *results)) == list(range(40))
        assert noted(tmp_path / "notes", "worker") == 2
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_an_engine_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unknown engine 'dask', expected one of: local, ray, slurm"):
        create_engine(EngineOptions(engine="dask"), tmp_path)
    monkeypatch.setattr("interpose_sfm.registry.find_spec", lambda _: None)
    for name in ("ray", "slurm"):
        with pytest.raises(MissingDependencyError, match=rf"pip install 'interpose_sfm\[{name}\]'"):
            create_engine(EngineOptions(engine=name), tmp_path)
    assert set(ENGINES.builtin) == {"local", "ray", "slurm"}


def test_slurm_is_asked_for_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told at the start of a run and by the doctor, not by a defect after COLMAP has mapped."""
    pytest.importorskip("submitit")
    options = ReconstructOptions(execution=EngineOptions(engine="slurm"))
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(ValueError, match="a machine without srun"):
        check_options(options)
    with pytest.raises(ValueError, match="a machine without srun"):
        ENGINES.resolve("slurm").probe()
    check_options(replace(options, execution=EngineOptions(engine="slurm", slurm_cluster="local")))
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    check_options(options)
    assert "submitit" in ENGINES.resolve("slurm").probe()


@pytest.mark.parametrize("gpus", [0.0, 0.5])
def test_slurm_is_asked_in_its_words_and_what_it_refuses_is_told_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: float
) -> None:
    pytest.importorskip("submitit")
    refuse = f"""cp "$1" '{tmp_path}/asked'; echo 'sbatch: error: invalid partition: gpus' >&2; exit 1"""
    for name, script in (("srun", "exit 0"), ("sbatch", refuse)):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    engine = create_engine(EngineOptions(engine="slurm", slurm_partition="gpus"), tmp_path / "engine")
    with pytest.raises(EngineError, match=r"has not taken a job \(.*invalid partition: gpus.*see --slurm-partition"):
        next(engine.map(Squares(tmp_path / "notes"), range(1), gpus=gpus, cpus=1.5))
    engine.close()
    assert not (tmp_path / "engine").exists()
    asked = re.findall("^#SBATCH --(.*)", (tmp_path / "asked").read_text(), re.MULTILINE)
    assert {"partition=gpus", "cpus-per-task=2", "time=240"} <= set(asked)
    assert [each for each in asked if each.startswith("gpus-")] == (["gpus-per-node=1"] if gpus else [])


def test_what_submitit_links_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next run, and another one at the same store, would refuse the folder, as one with links in it."""
    pytest.importorskip("submitit")
    for name, script in (("srun", "exit 0"), ("sbatch", "echo Submitted batch job 7")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def stop(_: float) -> None:
        raise InterruptedError

    monkeypatch.setattr("interpose_sfm.engines.slurm.time.sleep", stop)
    engine = create_engine(EngineOptions(engine="slurm"), tmp_path / "out" / "engine")
    with pytest.raises(InterruptedError):  # while it waits for the job
        next(engine.map(Squares(tmp_path / "notes"), range(1)))
    assert list((tmp_path / "out").rglob("7_submission.sh"))
    refuse_links(tmp_path / "out")


@pytest.mark.parametrize("has_client", [False, True])
def test_the_client_of_ray_is_asked_for_at_the_start(monkeypatch: pytest.MonkeyPatch, has_client: bool) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr("interpose_sfm.engines.ray_cluster.find_spec", lambda name: has_client or None)
    options = ReconstructOptions(execution=EngineOptions(engine="ray", ray_address="ray://head:10001"))
    message = r"--ray-address ray://head:10001 needs Ray's client.*pip install 'ray\[client\]'"
    with contextlib.nullcontext() if has_client else pytest.raises(MissingDependencyError, match=message):
        check_options(options)
    check_options(replace(options, execution=EngineOptions(engine="ray", ray_address="auto")))


def test_a_ray_cluster_that_is_not_there_is_told_by_our_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def init(address: str, **_: object) -> None:
        raise ConnectionError(f"no {address}: set the `--address` flag")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    engine = create_engine(EngineOptions(engine="ray", ray_address="auto"), tmp_path)
    with pytest.raises(ConnectionError, match=r"got no Ray cluster at --ray-address auto.*RAY_AUTH_MODE=token"):
        next(engine.map(Squares(tmp_path / "notes"), range(1)))


def test_what_a_ray_cluster_says_of_its_token_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for tokens, as we advise where there seems to be no cluster, and has none."""
    ray = pytest.importorskip("ray")

    def init(*_: object, **__: object) -> None:
        raise ray.exceptions.AuthenticationError("there is no token")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    engine = create_engine(EngineOptions(engine="ray", ray_address="head:6379"), tmp_path)
    with pytest.raises(EngineError, match=r"--ray-address head:6379 is closed to us \(there is no token.*auth_token"):
        next(engine.map(Squares(tmp_path / "notes"), range(1)))
