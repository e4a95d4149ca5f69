"""Which torch device a pose network runs on."""

from __future__ import annotations


def pick_device(name: str, option: str) -> str:
    """The torch device of a name; ``auto`` takes CUDA where it is there, else Metal, else the CPU.

    Args:
        name: ``auto``, or a device of torch.
        option: Which option says so, for the message.

    Raises:
        ValueError: torch has no such device here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        first = " ".join(str(error).split())[:200]
        raise ValueError(f"option {option}: got {name!r}, expected auto, cpu, cuda or mps ({first})") from error
    return name
