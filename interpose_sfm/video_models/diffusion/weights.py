"""Checkpoints on disk and on the hub: what they hold, read as data, before any of it is loaded.

Only safetensors are loaded, and only classes of diffusers and transformers: pickled weights and code that comes with a
checkpoint can run anything.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INDEX_NAME = "model_index.json"
_LIBRARIES = ("diffusers", "transformers")
_WITHOUT_WEIGHTS = re.compile(r"(Scheduler|Tokenizer|Tokenizers|Processor|FeatureExtractor)(\w*)$")
_PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5"})
_SAMPLE_BYTES, _NUM_SAMPLES = 1 << 16, 16
_MAX_HEADER_BYTES = 100_000_000  # the limit of the format's own reader

Index = Mapping[str, Any]


class IncompleteWeightsError(ValueError):
    """Files of a checkpoint are not there, or not whole."""


# ---------------------------------------------------------------- where a checkpoint is


def find(source: str, revision: str = "") -> Path | None:
    """The folder of a checkpoint that is on this machine, without asking the network.

    Args:
        source: A folder, or a repository of the hub.
        revision: Branch, tag or commit on the hub; empty for its main branch.

    Returns:
        The folder itself, the snapshot in the cache of the hub, or None.
    """
    if Path(source).is_dir():
        return Path(source)
    for name in (INDEX_NAME, "config.json"):
        path = _cached(source, name, revision)
        if path is not None:
            return path.parent
    return None


def _cached(repo: str, name: str, revision: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(repo, name, revision=revision or None)
    except HFValidationError:
        return None
    return Path(cached) if isinstance(cached, str) else None


def read_config(source: str, name: str, revision: str = "") -> dict[str, Any] | None:
    """A small JSON file of a checkpoint, from this machine or from the hub.

    Args:
        source: A folder, or a repository of the hub.
        name: Path of the file in it.
        revision: As in `find`.

    Returns:
        What it holds; None if the checkpoint has no such file.

    Raises:
        ValueError: There is no such checkpoint, the hub cannot be reached, or the file is no JSON object.
    """
    path: Path | None = Path(source) / name
    if not Path(source).is_dir():
        path = _cached(source, name, revision) or _fetched(source, name, revision)
    return read_json(path) if path is not None and path.is_file() else None


def _fetched(repo: str, name: str, revision: str) -> Path | None:
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repo, name, revision=revision or None))
    except LocalEntryNotFoundError as error:
        raise ValueError(absent(repo, revision, error)) from error
    except EntryNotFoundError:
        return None
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise ValueError(absent(repo, revision, error)) from error


def absent(repo: str, revision: str, error: BaseException | None = None, gate: str = "") -> str:
    """The message for weights that cannot be had; `gate` says what the hub wants first."""
    why = f" ({one_line(error)})" if error is not None else ""
    at = f" --revision {revision}" if revision else ""
    return (
        f"the weights of {repo!r} are not on this machine and cannot be had from the hub{why}; with a network, get "
        f"them with: hf download {repo}{at}, or name a folder that holds them as diffusers:FOLDER{gate and '; ' + gate}"
    )


def one_line(error: BaseException) -> str:
    """The beginning of an error's message, for a sentence of ours."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def revision_of(folder: Path) -> str:
    """The commit of a snapshot in the cache of the hub; the fingerprint of any other folder."""
    return folder.name if folder.parent.name == "snapshots" else f"local {fingerprint(folder)}"


# ---------------------------------------------------------------- what a checkpoint holds


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: The file cannot be read as one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: got {type(content).__name__}, expected a JSON object")
    return content


def components(index: Index) -> dict[str, tuple[str, str]]:
    """Component -> (library, class) of all that a ``model_index.json`` names."""
    return {
        name: (value[0], value[1])
        for name, value in index.items()
        if not name.startswith("_") and isinstance(value, list) and len(value) == 2 and value[0] is not None
    }


def has_weights(class_name: str) -> bool:
    """Whether a component of this class is a network, rather than a tokenizer, an image processor or a scheduler."""
    return _WITHOUT_WEIGHTS.search(class_name) is None


def check_libraries(index: Index, own_libraries: tuple[str, ...], source: str) -> None:
    """See that all components are classes of diffusers or transformers.

    Raises:
        ValueError: One would bring code of its own.
    """
    for name, (library, class_name) in components(index).items():
        if library not in (*_LIBRARIES, *own_libraries):
            raise ValueError(
                f"{source}: its {name} is {class_name!r} of {library!r}, expected a class of "
                f"{' or '.join((*_LIBRARIES, *own_libraries))}; code that comes with a checkpoint is not run"
            )


def check_files(folder: Path, name: str = "") -> None:
    """See that the weights of one component are all there, as safetensors.

    Args:
        folder: Of the component.
        name: What to call it in messages.

    Raises:
        IncompleteWeightsError: Files are missing or cut off.
        ValueError: The weights are pickled.
    """
    what = f"{folder.parent}: its {name}" if name else f"{folder}: it"
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        pickled = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLED) if folder.is_dir() else []
        if pickled:
            raise ValueError(
                f"{what} has pickled weights only ({', '.join(pickled[:3])}), which can run anything; expected "
                "safetensors (load it where you trust it, and save it with save_pretrained)"
            )
        raise IncompleteWeightsError(f"{what} has no weights, expected a file *.safetensors")
    for index_path in folder.glob("*.safetensors.index.json"):
        shards = set(read_json(index_path).get("weight_map", {}).values())
        missing = sorted(shards - {path.name for path in files})
        if missing:
            raise IncompleteWeightsError(f"{what} lacks {', '.join(missing[:3])}")
    for path in files:
        _tensors(path)


def check_all_files(folder: Path, index: Index, elsewhere: frozenset[str] = frozenset()) -> None:
    """See that the weights of all components are there, as in `check_files`, but for those that are kept elsewhere."""
    for name, (_, class_name) in components(index).items():
        if name not in elsewhere and has_weights(class_name):
            check_files(folder / name, name)


def num_parameters(folder: Path) -> int:
    """Parameters of one component, from the headers of its safetensors; nothing is loaded."""
    return sum(
        math.prod(tensor["shape"]) for path in folder.glob("*.safetensors") for tensor in _tensors(path).values()
    )


def _tensors(path: Path) -> dict[str, dict[str, Any]]:
    """The header of a safetensors file: a length of eight bytes, then JSON; the data follow.

    Format: https://github.com/huggingface/safetensors#format
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _MAX_HEADER_BYTES):
            raise IncompleteWeightsError(f"{path} is cut off or no safetensors file; get it anew")
        header = file.read(length)
    try:
        tensors = {name: dict(value) for name, value in json.loads(header).items() if name != "__metadata__"}
        end = max((value["data_offsets"][1] for value in tensors.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise IncompleteWeightsError(f"{path} is no safetensors file ({one_line(error)}); get it anew") from error
    if 8 + length + end != size:
        raise IncompleteWeightsError(f"{path} is cut off: {size} bytes, expected {8 + length + end}; get it anew")
    return tensors


def fingerprint(folder: Path) -> str:
    """Hex digest of a local checkpoint: its JSON files, and sizes and samples of its weights.

    Weights of tens of gigabytes are not read whole to name a clip; samples from all over tell one training from
    another.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".json", ".safetensors")):
        digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
        if path.suffix == ".json":
            digest.update(path.read_bytes())
            continue
        with path.open("rb") as file:
            for sample in range(_NUM_SAMPLES):
                file.seek(path.stat().st_size * sample // _NUM_SAMPLES)
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]
