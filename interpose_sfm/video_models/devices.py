"""Which devices video models use, one worker each."""

from __future__ import annotations


def worker_devices(option: str) -> tuple[str, ...]:
    """The torch devices that an option names, one worker each.

    Args:
        option: Devices separated by commas, the same one several times if wanted; ``auto`` for all CUDA devices, else
            Metal, else the CPU.

    Raises:
        ValueError: Something else.
    """
    import torch

    names = tuple(name.strip() for name in option.split(","))
    if names == ("auto",):
        if torch.cuda.is_available():
            return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
        return ("mps",) if torch.backends.mps.is_available() else ("cpu",)
    for name in names:
        try:
            torch.device(name)
        except RuntimeError as error:
            raise ValueError(
                f"option video-device: got {option!r}, expected auto, or torch devices such as cuda:0,cuda:1"
            ) from error
    return names
