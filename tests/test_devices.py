from __future__ import annotations

import pytest

from interpose_sfm.options import InterposeOptions, ReconstructOptions, devices
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
