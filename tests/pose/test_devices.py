from __future__ import annotations

import pytest

from interpose_sfm.pose.devices import pick_device


def test_devices() -> None:
    pytest.importorskip("torch")
    assert pick_device("cpu", "x-device") == "cpu"
    assert pick_device("auto", "x-device") in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match="option x-device: got 'abacus', expected a torch device"):
        pick_device("abacus", "x-device")
