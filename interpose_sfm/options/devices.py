"""Whether a torch device that an option names is on this machine."""

from __future__ import annotations


def check_device(option: str, name: str) -> None:
    """Look for a device; torch is loaded only for others than the CPU.

    Args:
        option: Its name on the command line, for the message.
        name: As torch spells it, such as ``cuda:0``.

    Raises:
        ValueError: torch knows no such device, or this machine has none.
    """
    if name == "cpu":
        return
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"option {option}: got {name!r}, expected a torch device such as cpu or cuda:0") from error
    number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= number:
        raise ValueError(f"option {option}: got {name!r}, and torch sees {number} CUDA devices here; expected cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"option {option}: got {name!r}, and torch has no Metal here; expected cpu")
    if device.type == "meta":
        raise ValueError(f"option {option}: got {name!r}, which computes nothing; expected cpu or cuda:0")
