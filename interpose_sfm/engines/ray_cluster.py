"""The engine of a Ray cluster: actors that load a model once, on all machines that there are by and by."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Generic

from interpose_sfm.engines.protocol import Done, Engine, EngineError, J, R, Worker, WorkerDiedError, attempt, portable
from interpose_sfm.options import EngineOptions
from interpose_sfm.registry import MissingDependencyError

logger = logging.getLogger(__name__)

MAX_TRIES = 2  # of a job whose worker dies
MAX_FALSE_STARTS = 3  # of workers that die before their first job

_LOOK_S = 1.0  # how often it is looked for machines that have joined
_PATIENCE_S = 60.0  # between two words about a cluster that has no room for a worker
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # of the statistics that Ray sends to its makers
    "RAY_worker_niceness": "0",  # 15 by default, though the workers are what the user waits for
}


class RayEngine(Engine):
    """Actors of Ray 2.x.

    Without an address a Ray of our own is started on this machine, and stopped by `close`.
    """

    name = "ray"
    requires: ClassVar[Mapping[str, str]] = {"ray": "pip install 'interpose_sfm[ray]'"}

    @classmethod
    def check(cls, options: EngineOptions) -> None:
        """See `Engine.check`; an address of Ray's client needs more than Ray itself."""
        if options.ray_address.startswith("ray://") and find_spec("grpc") is None:
            raise MissingDependencyError(
                f"engine ray: --ray-address {options.ray_address} needs Ray's client, which is not installed; run: "
                "pip install 'ray[client]'; or start the run on a machine of the cluster, with --ray-address auto"
            )

    @classmethod
    def is_elsewhere(cls, options: EngineOptions) -> bool:
        """See `Engine.is_elsewhere`; a Ray of our own is on this machine."""
        return bool(options.ray_address)

    @classmethod
    def probe(cls) -> str:
        """See `Backend.probe`."""
        return f"ray {metadata.version('ray')}"

    def __init__(self, options: EngineOptions, folder: Path) -> None:
        """Start nothing yet.

        Args:
            options: Address of the cluster, and how many workers at most.
            folder: Not used.
        """
        self._options = options
        self._is_ours = False

    def map(
        self, make_worker: Callable[[], Worker[J, R]], jobs: Iterable[J], *, gpus: float = 0.0, cpus: float = 1.0
    ) -> Generator[Done[J, R], None, None]:
        """See `Engine.map`; one actor for each worker that the cluster has room for, more when machines join.

        Raises:
            ConnectionError: There is no cluster at the address.
            EngineError: It asks for a token that is not here, or workers die before they have done anything.
        """
        ray = self._connected(cpus)
        actors = _Actors(ray, make_worker, jobs, gpus, cpus, self._options.engine_workers)
        try:
            yield from actors.results()
        finally:
            actors.close()

    def close(self) -> None:
        """Stop the Ray that this engine has started."""
        if self._is_ours:
            import ray

            ray.shutdown()
            self._is_ours = False

    def _connected(self, cpus: float) -> Any:
        """The module, connected."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import ray

        if not ray.is_initialized():
            with _our_sigterm():
                if self._options.ray_address:
                    self._join(ray, self._options.ray_address)
                else:  # with as many cores as workers are wanted, and no matter what cluster there is
                    cores = max(os.cpu_count() or 1, math.ceil(self._options.engine_workers * cpus))
                    ray.init("local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
            self._is_ours = True
        return ray

    @staticmethod
    def _join(ray: Any, address: str) -> None:
        try:
            ray.init(address, log_to_driver=False)
        except ConnectionError as error:  # which names an option of Ray's own command
            raise ConnectionError(
                f"got no Ray cluster at --ray-address {address}; start one with `ray start --head`; set "
                "RAY_AUTH_MODE=token if it is there and asks for one, as by default from Ray 2.60 on; or leave "
                "--ray-address out for a Ray on this machine alone"
            ) from error
        except ray.exceptions.RayError as error:  # such as that this machine does not have the token of the cluster
            said = " ".join(str(error).split())
            raise EngineError(f"engine ray: the cluster at --ray-address {address} is closed to us ({said})") from error


@contextmanager
def _our_sigterm() -> Iterator[None]:
    """Keep the handler of SIGTERM, in whose place Ray puts one that ends the process with an exit code of its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


class _WorkerActor:
    """One worker, in a process of its own."""

    def prepare(self, make_worker: Callable[[], Worker[Any, Any]], folder: str) -> Exception | None:
        """Make the worker; what was raised if that fails.

        Args:
            make_worker: See `Engine.map`.
            folder: Where the calling process works, so that relative paths mean the same; those of Ray begin where the
                cluster was started.
        """
        with suppress(OSError):  # a machine that does not have it may see all that is needed under whole paths
            os.chdir(folder)
        try:
            self._worker = make_worker()
        except Exception as error:  # noqa: BLE001 - it is raised in the calling process
            return portable(error)
        return None

    def do(self, job: Any) -> tuple[Any, Exception | None]:
        """Do a job."""
        return attempt(self._worker, job)


class _Actors(Generic[J, R]):
    """The actors of one `map`, and the jobs that they have."""

    def __init__(
        self,
        ray: Any,
        make_worker: Callable[[], Worker[J, R]],
        jobs: Iterable[J],
        gpus: float,
        cpus: float,
        max_workers: int,
    ) -> None:
        self._ray, self._make_worker, self._feed = ray, ray.put(make_worker), iter(jobs)
        self._gpus, self._cpus, self._max_workers = gpus, cpus, max_workers
        self._class = ray.remote(_WorkerActor).options(num_cpus=cpus, num_gpus=gpus, max_restarts=0)
        self._waiting: deque[tuple[J, int]] = deque()  # jobs, and how often each was tried
        self._starting: dict[Any, Any] = {}  # reference to an answer -> actor
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, J, int]] = {}
        self._false_starts, self._said_at = 0, time.monotonic()

    def results(self) -> Generator[Done[J, R], None, None]:
        """See `Engine.map`."""
        while True:
            self._give_out()
            if not self._busy and not self._waiting:
                return
            ready, _ = self._ray.wait([*self._busy, *self._starting], num_returns=1, timeout=_LOOK_S)
            for reference in ready:
                if reference in self._starting:
                    self._started(reference)
                    continue
                done = self._finished(reference)
                if done is not None:
                    yield done
            self._say_if_stuck(bool(ready))

    def close(self) -> None:
        """End all actors, whatever they are at."""
        for actor in (*self._starting.values(), *self._idle, *(actor for actor, _, _ in self._busy.values())):
            self._ray.kill(actor)

    def _give_out(self) -> None:
        """Give jobs to free actors, and start more of these while there are jobs and room."""
        room = self._room()
        while True:
            if len(self._waiting) <= len(self._starting):
                self._take_one()
            if self._waiting and self._idle:
                job, tries = self._waiting.popleft()
                actor = self._idle.pop()
                self._busy[actor.do.remote(job)] = actor, job, tries + 1
            elif len(self._waiting) > len(self._starting) and self._num_actors < room:
                actor = self._class.remote()
                self._starting[actor.prepare.remote(self._make_worker, os.getcwd())] = actor
            else:
                return

    def _take_one(self) -> None:
        for job in self._feed:
            self._waiting.append((job, 0))
            return

    @property
    def _num_actors(self) -> int:
        return len(self._starting) + len(self._idle) + len(self._busy)

    def _room(self) -> int:
        """How many workers the machines hold that are there now; one at least is asked for, for clusters that grow."""
        room = 0
        for node in self._ray.nodes():
            if node["Alive"]:
                per_node = [
                    int(node["Resources"].get(kind, 0.0) / each + 1e-6)
                    for kind, each in (("CPU", self._cpus), ("GPU", self._gpus))
                    if each
                ]
                room += min(per_node, default=1)
        return min(max(room, 1), self._max_workers or room or 1)

    def _started(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            error = self._ray.get(reference)
        except self._ray.exceptions.RayActorError as death:
            self._false_starts += 1
            if self._false_starts >= MAX_FALSE_STARTS:
                raise EngineError(
                    f"engine ray: {self._false_starts} workers died as they started ({_first_line(death)}); all "
                    "machines of the cluster need this package, in the same version"
                ) from None
            return
        if error is not None:
            raise error
        self._false_starts = 0
        self._idle.append(actor)

    def _finished(self, reference: Any) -> Done[J, R] | None:
        """What came of a job; None if its worker died and it is to be tried again."""
        actor, job, tries = self._busy.pop(reference)
        try:
            value, error = self._ray.get(reference)
        except self._ray.exceptions.RayError as death:  # the actor died, or what it made was lost with its machine
            self._ray.kill(actor)
            if tries < MAX_TRIES:
                logger.warning("a worker died, its job is tried again: %s", _first_line(death))
                self._waiting.appendleft((job, tries))
                return None
            return Done(job, error=WorkerDiedError(f"{tries} workers died of it: {_first_line(death)}"))
        self._idle.append(actor)
        return Done(job, value, error)

    def _say_if_stuck(self, is_moving: bool) -> None:
        now = time.monotonic()
        if is_moving or self._busy:
            self._said_at = now
        elif now - self._said_at > _PATIENCE_S:
            sizes = self._cpus, self._gpus
            logger.warning("Ray has started no worker of %g CPUs and %g GPUs yet; it may lack room for one", *sizes)
            self._said_at = now


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
