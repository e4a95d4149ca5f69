"""Which torch device an option means, and whether this machine has it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys

AUTO = "auto"


def pick_device(name: str, option: str, *, or_metal: bool = True, is_here: bool = True) -> str:
    """The torch device of a name; ``auto`` takes CUDA where it is there, else Metal, else the CPU.

    Where no GPU can be there, torch is not loaded for that.

    Args:
        name: ``auto``, or a device of torch.
        option: Which option says so, for the message.
        or_metal: False where ``auto`` never means Metal.
        is_here: See `check_device`.

    Raises:
        ValueError: torch has no such device here.
    """
    if name != AUTO:
        check_device(option, name, is_here=is_here)
        return name
    if not or_metal and not _has_driver():
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if or_metal and torch.backends.mps.is_available() else "cpu"


def _has_driver() -> bool:
    """Whether torch could find a GPU that CUDA or ROCm drives; torch itself takes half a gigabyte to be asked."""
    if os.path.exists("/dev/kfd"):
        return True
    with contextlib.suppress(OSError):
        ctypes.CDLL("libcuda.so.1")
        return True
    return sys.platform != "linux"


def has_device(name: str) -> bool:
    """Whether this machine has a device, as torch spells it."""
    with contextlib.suppress(ValueError):
        check_device("device", name)
        return True
    return False


def check_device(option: str, name: str, *, is_here: bool = True) -> None:
    """Look for a device; torch is loaded only for others than the CPU.

    Args:
        option: Its name on the command line, for the message.
        name: As torch spells it, such as ``cuda:0``.
        is_here: False for a device of other machines, of which only the name can be looked at.

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
    if device.type == "meta":
        raise ValueError(f"option {option}: got {name!r}, which computes nothing; expected cpu or cuda:0")
    if not is_here:
        return
    number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= number:
        host = socket.gethostname()  # which may be a worker's
        raise ValueError(f"option {option}: got {name!r}, and torch sees {number} CUDA devices on {host}; expected cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"option {option}: got {name!r}, and torch has no Metal here; expected cpu")
