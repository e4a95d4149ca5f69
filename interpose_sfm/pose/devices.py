"""Which torch device a pose network runs on."""

from __future__ import annotations

from interpose_sfm.options.devices import check_device

AUTO = "auto"


def pick_device(name: str, option: str) -> str:
    """The torch device of a name; ``auto`` takes CUDA where it is there, else Metal, else the CPU.

    Args:
        name: ``auto``, or a device of torch.
        option: Which option says so, for the message.

    Raises:
        ValueError: torch has no such device here.
    """
    if name != AUTO:
        check_device(option, name)
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
