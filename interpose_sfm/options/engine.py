"""Where work is done, and by how many."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from interpose_sfm.options.checks import refuse_nan, require


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Who matches with learned features, asks pose networks and runs video models. Services are asked by this process.

    Attributes:
        engine: ``local`` works on the cores of this machine, ``ray`` by the actors of a Ray cluster, ``slurm`` by jobs
            of a Slurm cluster; their machines must see photos and output folder under the same paths.
        engine_workers: At most so many at once; 0 for as many as there is room for (Slurm: 4).
        ray_address: Of the cluster, such as ``auto`` or, with Ray's client (``pip install 'ray[client]'``),
            ``ray://HOST:10001``; empty for a Ray on this machine alone.
        slurm_cluster: ``slurm``, or ``local`` and ``debug`` for the executors of submitit that need none.
        slurm_partition: Partition of the jobs; empty for the default one.
        slurm_minutes: Time limit of a job, which does up to 16 pairs or clips.
        worker_gpus: What a worker takes of a machine where it runs on a GPU; fractions share one (Ray).
        store: Folder of learned features, matches and hypotheses, a new one or that of earlier runs; several runs may
            share one at the same time. By default the output folder.
    """

    engine: str = "local"
    engine_workers: int = 0
    ray_address: str = ""
    slurm_cluster: str = "slurm"
    slurm_partition: str = ""
    slurm_minutes: int = 240
    worker_gpus: float = 1.0
    store: Path | None = None

    def __post_init__(self) -> None:
        refuse_nan(self)
        require(bool(self.engine), "engine", self.engine, "the name of an engine")
        require(self.engine_workers >= 0, "engine-workers", self.engine_workers, ">= 0")
        require(self.slurm_minutes >= 1, "slurm-minutes", self.slurm_minutes, ">= 1")
        require(self.worker_gpus > 0, "worker-gpus", self.worker_gpus, "> 0")
        clusters = ("slurm", "local", "debug")
        require(self.slurm_cluster in clusters, "slurm-cluster", self.slurm_cluster, f"one of {', '.join(clusters)}")
