"""Pipelines from checkpoints: fetched if need be, looked at, and only then loaded."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpose_sfm import failures
from interpose_sfm.options import NetworkDtype
from interpose_sfm.video_models.diffusion import weights
from interpose_sfm.video_models.diffusion.catalogue import Checkpoint, Part, check_usable, first_part, own_revision
from interpose_sfm.video_models.diffusion.families import Family

logger = logging.getLogger(__name__)


# Both libraries build networks without memory by patching torch for the time of loading, for all threads.
_LOADING = threading.Lock()


@dataclass(frozen=True)
class LoadedPipeline:
    """A pipeline on the CPU.

    Attributes:
        pipe: The instance.
        revision: Commit on the hub, or fingerprint of the folder, of each that it was loaded from; the model's first.
    """

    pipe: Any
    revision: str


def part_dtypes(family: Family, dtype: NetworkDtype) -> dict[str, str]:
    """Component -> its own number format; none is narrower than what the user asked for."""
    return {} if dtype is NetworkDtype.FLOAT32 else dict(family.part_dtypes)


def load(checkpoint: Checkpoint, revision: str, dtype: NetworkDtype) -> LoadedPipeline:
    """Load a checkpoint, from the hub where it is not on this machine.

    Args:
        checkpoint: What to load.
        revision: Of the model's repository on the hub; empty for its main branch.
        dtype: Number format of all that has none of its own.

    Raises:
        ValueError: It cannot be had, is pickled, brings code, takes no last frame, or does not fit its class.
    """
    import diffusers

    own = part_dtypes(checkpoint.family, dtype)
    pipeline_class = getattr(diffusers, checkpoint.family.pipeline)
    with _LOADING, quiet():
        parts, revisions = {}, []
        for name, part in checkpoint.parts.items():
            with _had(part.repo):
                folder = _part_folder(part, revision if part is first_part(checkpoint) else "")
                parts[name] = _load_part(folder, part, own.get(name, dtype.value))
            revisions.append(weights.revision_of(folder))
        with _had(checkpoint.repo, checkpoint.gate):
            home = _home(checkpoint, own_revision(checkpoint, revision), pipeline_class, parts)
            index = weights.read_json(home / weights.INDEX_NAME)
            check_usable(checkpoint, index, revision)
            weights.check_all_files(home, index, frozenset(parts))
        with _fits(checkpoint.repo):
            pipe = pipeline_class.from_pretrained(
                home, dtype=_dtypes(own, dtype), use_safetensors=True, local_files_only=True, **parts
            )
        for name in (name for name in weights.components(index) if name not in parts):
            _check_whole(getattr(pipe, name), home / name)
    pipe.set_progress_bar_config(disable=True)
    _shift_flow(pipe, checkpoint.family)
    return LoadedPipeline(pipe, ", ".join(dict.fromkeys([*revisions, weights.revision_of(home)])))


def _home(checkpoint: Checkpoint, revision: str, pipeline_class: Any, parts: dict[str, Any]) -> Path:
    """The folder of the pipeline; downloads what is not there, but for components that are loaded already."""
    if Path(checkpoint.repo).is_dir():
        return Path(checkpoint.repo)
    logger.info("weights of %s, from the hub if they are not here", checkpoint.repo)
    return Path(
        pipeline_class.download(
            checkpoint.repo,
            revision=revision or None,
            use_safetensors=True,
            local_files_only=_is_offline() or None,
            **parts,
        )
    )


def _part_folder(part: Part, revision: str) -> Path:
    """The repository of a part, with what the part needs."""
    if Path(part.repo).is_dir():
        return Path(part.repo)
    from huggingface_hub import snapshot_download

    below = f"{part.subfolder}/" if part.subfolder else ""
    return Path(
        snapshot_download(
            part.repo,
            revision=revision or None,
            allow_patterns=[f"{below}*.json", f"{below}*.safetensors"],
            local_files_only=_is_offline(),
        )
    )


def _load_part(root: Path, part: Part, dtype: str) -> Any:
    import importlib

    import torch

    part_class = getattr(importlib.import_module(part.library), part.class_name)
    folder = root / part.subfolder
    if not weights.has_weights(part.class_name):
        with _fits(part.repo):
            return part_class.from_pretrained(folder, local_files_only=True)
    weights.check_files(folder)
    with _fits(part.repo):
        return part_class.from_pretrained(
            folder, dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True
        )


def _check_whole(part: Any, folder: Path) -> None:
    """See that a file had all that its network has; the libraries fill in noise and only warn, or fail much later.

    Tied tensors are one in both. A file may hold more, as that of a text model of which only the encoder is used.

    Raises:
        ValueError: Something was missing.
    """
    import torch

    if not isinstance(part, torch.nn.Module):
        return
    if "quantization_config" in weights.read_json(folder / "config.json"):
        return  # packed, so that numbers do not compare
    has, needs = weights.num_parameters(folder), sum(weight.numel() for weight in part.parameters())
    if has < needs:
        raise ValueError(f"{folder} holds {has:,} parameters, expected {needs:,} for {type(part).__name__}")


def _dtypes(own: dict[str, str], dtype: NetworkDtype) -> dict[str, Any]:
    import torch

    return {name: getattr(torch, value) for name, value in {"default": dtype.value, **own}.items()}


def _shift_flow(pipe: Any, family: Family) -> None:
    """Set the shift of the noise schedule; only the scheduler that the documentation names knows it."""
    from diffusers import UniPCMultistepScheduler

    scheduler_class: Any = UniPCMultistepScheduler
    if family.flow_shift is not None and isinstance(pipe.scheduler, scheduler_class):
        pipe.scheduler = scheduler_class.from_config(pipe.scheduler.config, flow_shift=family.flow_shift)


def _is_offline() -> bool:
    from huggingface_hub import is_offline_mode

    return bool(is_offline_mode())


@contextlib.contextmanager
def _had(repo: str, gate: str = "") -> Iterator[None]:
    """Errors of fetching as one sentence that says what to do."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except weights.IncompleteWeightsError as error:
        if Path(repo).is_dir():
            raise
        raise ValueError(weights.absent(repo, "", error, gate)) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, httpx.HTTPError, OSError) as error:
        raise ValueError(weights.absent(repo, "", error, gate)) from error


@contextlib.contextmanager
def _fits(repo: str) -> Iterator[None]:
    """Errors of loading as one sentence that names the checkpoint."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if failures.is_out_of_memory(error):
            raise
        raise ValueError(f"the checkpoint {repo} cannot be loaded: {weights.one_line(error)}") from error


class _Quiet:
    """Counts who wants silence: the switches are global, and several models may load at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._before: list[tuple[Any, int, bool]] = []

    def __enter__(self) -> None:
        from diffusers.utils import logging as of_diffusers
        from transformers.utils import logging as of_transformers

        with self._lock:
            self._count += 1
            if self._count > 1:
                return
            for switches in (of_diffusers, of_transformers):
                self._before.append((switches, switches.get_verbosity(), switches.is_progress_bar_enabled()))
                switches.set_verbosity_error()
                switches.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._count -= 1
            if self._count:
                return
            for switches, verbosity, had_bars in self._before:
                switches.set_verbosity(verbosity)
                if had_bars:
                    switches.enable_progress_bar()
            self._before.clear()


_QUIET = _Quiet()


def quiet() -> contextlib.AbstractContextManager[None]:
    """No messages and progress bars of diffusers and transformers; what they were before comes back."""
    return _QUIET
