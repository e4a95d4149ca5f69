from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpose_sfm.options import Da3Options
from interpose_sfm.pose.da3 import architectures, checkpoint, network
from interpose_sfm.pose.da3.architectures import PUBLISHED
from interpose_sfm.pose.da3.network import Da3Network
from interpose_sfm.storage.content_keys import file_sha256
from tiny_da3 import WIDTH, needs_code, pictures, tiny_module


class Evil:
    """Would write a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (self.path, "w"))


def saved(path: Path, module: Any, change: Callable[[dict[str, Any]], None] = lambda state: None) -> Path:
    """Weights as they are published: the network is the part `model`, and what is shared is there once."""
    from safetensors.torch import save_file

    shared: dict[int, str] = {}
    state = {}
    for name, value in module.state_dict().items():
        if shared.setdefault(value.data_ptr(), name) == name:
            state[f"model.{name}"] = value.clone()
    change(state)
    save_file(state, str(path))
    return path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], Path]:
    """Puts a file into a cache of the hub that is otherwise empty."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(size: str, content: bytes) -> Path:
        item = PUBLISHED[size]
        folder = tmp_path / "hub" / f"models--{item.repo.replace('/', '--')}" / "snapshots" / item.revision
        folder.mkdir(parents=True)
        (folder / architectures.WEIGHTS_FILE).write_bytes(content)
        return folder / architectures.WEIGHTS_FILE

    return put


# ---------------------------------------------------------------- strict loading


@needs_code
def test_weights_are_loaded_whole(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors", tiny_module(seed=1))
    loaded, images = tiny_module(seed=2), pictures(2)
    before = Da3Network(loaded, "").guess(images)
    checkpoint.load_into(loaded, path)
    found, wanted = Da3Network(loaded, "").guess(images), Da3Network(tiny_module(seed=1), "").guess(images)
    assert before is not None
    assert found is not None
    assert wanted is not None
    np.testing.assert_allclose(found.depths, wanted.depths, rtol=1e-6)
    assert np.abs(before.depths - wanted.depths).max() > 1e-3


@needs_code
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("model.head.norm.weight"), "Missing key.*model.head.norm.weight"),
        (lambda state: state.update(extra=state["model.head.norm.weight"].clone()), "Unexpected key.*extra"),
        (
            lambda state: state.update({"model.head.norm.weight": state["model.head.norm.weight"][:5].clone()}),
            "size mismatch for model.head.norm.weight",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = saved(tmp_path / "w.safetensors", tiny_module(), change)
    with pytest.raises(ValueError, match=f"do not fit their network: .*{message}"):
        checkpoint.load_into(tiny_module(), path)


@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w.safetensors"])
def test_pickles_are_never_read(tmp_path: Path, name: str) -> None:
    """By their ending, or by what is in them."""
    pytest.importorskip("safetensors")
    path, trace = tmp_path / name, tmp_path / "trace"
    path.write_bytes(pickle.dumps(Evil(str(trace))))
    with pytest.raises(ValueError, match=r"may run code|is no safetensors file"):
        checkpoint.locate(str(path))
    assert not trace.exists()


# ---------------------------------------------------------------- finding weights


@needs_code
def test_a_file_tells_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of published ones the smallest is too large for a test: a width that is known for this test stands for it."""
    path = saved(tmp_path / "w.safetensors", tiny_module())
    with pytest.raises(ValueError, match=f"no tensor {checkpoint.WIDTH_TENSOR} of a known width"):
        checkpoint.locate(str(path))
    tiny = replace(PUBLISHED["small"], architecture=replace(PUBLISHED["small"].architecture, width=WIDTH))
    monkeypatch.setattr(checkpoint, "PUBLISHED", {"small": tiny})
    found = checkpoint.locate(str(path))
    assert (found.path, found.sha256) == (path, file_sha256(path))
    assert found.architecture == tiny.architecture
    module = tiny_module(seed=5)
    monkeypatch.setattr(network, "build_module", lambda code, architecture: module)
    loaded = network.load_network(Da3Options(da3_weights=str(path), da3_device="cpu"))
    assert found.sha256 in loaded.identity
    monkeypatch.setattr(checkpoint, "NON_COMMERCIAL", {"large": WIDTH})
    with pytest.raises(ValueError, match=r"CC BY-NC 4\.0, for non-commercial use only"):
        checkpoint.locate(str(path))


@pytest.mark.parametrize("name", ["large", "giant", "DA3-LARGE-1.1", "depth-anything/DA3NESTED-GIANT-LARGE"])
def test_weights_for_non_commercial_use_are_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"got the weights .*CC BY-NC 4\.0.*DA3-BASE are Apache-2\.0"):
        checkpoint.locate(name)


def test_weights_that_are_not_there_are_told_and_not_fetched(hub: object, tmp_path: Path) -> None:
    for name, size in (("auto", "SMALL"), ("small", "SMALL"), ("Base", "BASE")):
        with pytest.raises(
            ValueError, match=f"DA3-{size} .*not on this machine.*get them with: interpose_sfm fetch da3"
        ):
            checkpoint.locate(name)
    with pytest.raises(ValueError, match=r"expected auto, small, base or a \.safetensors file"):
        checkpoint.locate(str(tmp_path / "none.safetensors"))


def test_published_weights_are_those_whose_checksum_is_known(
    hub: Callable[[str, bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hub("base", b"weights")
    assert checkpoint.find("base") == path
    assert checkpoint.find("small") is None
    with pytest.raises(ValueError, match=r"got the SHA-256 \w+, expected e01067dc\w+ of depth-anything/DA3-BASE"):
        checkpoint.locate("auto")
    known = {size: replace(item, sha256=file_sha256(path)) for size, item in PUBLISHED.items()}
    monkeypatch.setattr(checkpoint, "PUBLISHED", known)
    assert checkpoint.locate("auto").path == path


def test_of_two_sizes_a_gpu_gets_the_larger_one(
    hub: Callable[[str, bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {size: hub(size, size.encode()) for size in ("small", "base")}
    known = {size: replace(item, sha256=file_sha256(paths[size])) for size, item in PUBLISHED.items()}
    monkeypatch.setattr(checkpoint, "PUBLISHED", known)
    assert checkpoint.locate("auto").architecture == PUBLISHED["small"].architecture
    assert checkpoint.locate("auto", on_gpu=True).architecture == PUBLISHED["base"].architecture
