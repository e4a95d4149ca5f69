"""The sizes of Depth Anything 3, their weights as published, and their licences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class Architecture:
    """What the network classes are built from; the numbers are those of the published configurations.

    Attributes:
        backbone: Name of the DINOv2 backbone in the published code.
        width: Numbers per token.
        head_features: Channels of the heads for depths and rays.
        head_channels: Channels of the four levels that the heads fuse.
        out_layers: Blocks of the backbone that the heads see.
        alternating_from: First block that looks at all views at once, and from which queries and keys are normalised
            and places are encoded in them.
    """

    backbone: str
    width: int
    head_features: int
    head_channels: tuple[int, int, int, int]
    out_layers: tuple[int, int, int, int] = (5, 7, 9, 11)
    alternating_from: int = 4


@dataclass(frozen=True)
class Published:
    """Weights as they are published on the Hugging Face hub.

    Attributes:
        repo, revision: Repository, and the commit that is used.
        sha256, num_bytes: Of the file `WEIGHTS_FILE` there.
        licence: Of the weights.
        architecture: What they belong to.
    """

    repo: str
    revision: str
    sha256: str
    num_bytes: int
    licence: str
    architecture: Architecture


PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "small": Published(
            "depth-anything/DA3-SMALL",
            "e08cab65ca0ec38e7826075418411ab90cab4da3",
            "364492e38a3a06d221ac75da7f6621ada3f2361cd24fde11ba79091e9f40efcf",
            137_248_940,
            "Apache-2.0",
            Architecture("vits", 384, 64, (48, 96, 192, 384)),
        ),
        "base": Published(
            "depth-anything/DA3-BASE",
            "f4a6c9b3c95e41c82048423d3493a81ec3fa810e",
            "e01067dc1659613083d9145a9a2547ccdbe6ccbbf83c4fe7b3e8a4e2bdae78b5",
            541_518_028,
            "Apache-2.0",
            Architecture("vitb", 768, 128, (96, 192, 384, 768)),
        ),
    }
)
"""The sizes that may be used commercially, by name."""

NON_COMMERCIAL: Mapping[str, int] = MappingProxyType({"large": 1024, "giant": 1536})
"""The sizes that may not, name -> numbers per token."""

NON_COMMERCIAL_REASON = (
    "DA3-LARGE and DA3-GIANT are CC BY-NC 4.0, for non-commercial use only, and are not used; DA3-SMALL and DA3-BASE "
    "are Apache-2.0"
)
