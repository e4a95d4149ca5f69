from __future__ import annotations

import pytest

from interpose_sfm.options import EngineOptions, InterposeOptions, MatchingOptions, ReconstructOptions, devices
from interpose_sfm.options.devices import pick_device
from interpose_sfm.workflows.start_checks import check_options, with_device


def test_devices() -> None:
    pytest.importorskip("torch")
    assert pick_device("cpu", "x-device") == "cpu"
    assert pick_device("auto", "x-device") in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match="option x-device: got 'abacus', expected a torch device"):
        pick_device("abacus", "x-device")


@pytest.mark.parametrize(("has_cuda", "has_metal", "expected"), [(True, True, "cuda"), (False, True, "cpu")])
def test_matching_takes_cuda_else_the_cpu_and_the_run_says_which(
    has_cuda: bool, has_metal: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_has_driver", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: has_metal)
    check_options(ReconstructOptions())
    for options in (ReconstructOptions(), InterposeOptions()):
        assert options.matching.device == "auto"
        assert with_device(options).matching.device == expected
    assert pick_device("auto", "x-device") == ("cuda" if has_cuda else "mps")


def test_a_machine_without_a_driver_is_told_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes half a gigabyte to load, and is not needed where nothing is weak."""
    monkeypatch.setattr(devices, "_has_driver", lambda: False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: pytest.fail("torch was asked"))
    assert with_device(ReconstructOptions()).matching.device == "cpu"


@pytest.mark.parametrize(
    ("execution", "is_elsewhere"),
    [
        (EngineOptions(engine="slurm"), True),
        (EngineOptions(engine="slurm", slurm_cluster="debug"), False),
        (EngineOptions(engine="ray", ray_address="auto"), True),
        (EngineOptions(engine="ray"), False),
        (EngineOptions(), False),
    ],
    ids=lambda value: "" if isinstance(value, bool) else f"{value.engine} {value.slurm_cluster}{value.ray_address}",
)
def test_the_device_of_workers_elsewhere_need_not_be_here(
    execution: EngineOptions, is_elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Login nodes of clusters have no GPU; a worker that lacks it says so itself."""
    pytest.importorskip({"slurm": "submitit", "ray": "ray"}.get(execution.engine, "torch"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    options = ReconstructOptions(matching=MatchingOptions(device="cuda"), execution=execution)
    if is_elsewhere:
        check_options(options)
        assert with_device(options).matching.device == "cuda"
    else:
        for ask in (check_options, with_device):
            with pytest.raises(ValueError, match="got 'cuda', and torch sees 0 CUDA devices on"):
                ask(options)
    with pytest.raises(ValueError, match="got 'abacus', expected a torch device"):
        check_options(ReconstructOptions(matching=MatchingOptions(device="abacus"), execution=execution))
