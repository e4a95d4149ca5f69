"""The hosted models that take a last frame: names, sizes, lengths, prices.

Sizes and lengths of Runway's models are those of the types in its SDK (``runwayml`` 5.24, the parameters of
``image_to_video``); the tests compare them with the installed release. Models whose type has no last frame, such as
``gen4_turbo`` and ``gen4.5``, cannot bridge two photos; ``gen3a_turbo``, which InterPose used, is no longer offered. Of
the others, those are left out that make 4K only, or that name a quality in place of a size.

wan3, hailuo3 and h3_max follow the shape of the first picture. Their types name no lengths; five to fifteen seconds are
what other vendors of the same models offer in common (docs.leonardo.ai, docs.venice.ai, muapi.ai). Kling 4 is left out:
its type says that an array may have a last frame, not how that is marked.

Sizes of Luma's models are the table of 720p that Luma's guide to reframing prints (docs.lumalabs.ai), other resolutions
in proportion to it. A clip of another size is no harm: `fitting` scales the mapping to what arrives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

Size = tuple[int, int]

RUNWAY_PRICES = "credits per second at $0.01 by github.com/runwayml/skills, rw-api-reference, of 2026-04-21"
LUMA_PRICES = (
    "dollars per million pixels by the price list of Comfy's API nodes (github.com/Comfy-Org/docs), which pass on the "
    "maker's prices; Luma itself prints none for these models"
)

# Shapes that differ by less than this are one to the eye and to a crop.
_SHAPE_TOLERANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class HostedSpec:
    """One model of a service.

    Attributes:
        model: Its name in the API.
        sizes: What the API calls a size -> (width, height) in pixels. A name may be the ratio and the resolution
            joined by a space.
        durations_s: Lengths that it makes, shortest first.
        num_pixels: Pixels of a frame that are taken unless the user wants another size.
        usd_per_s: Price of a second; None where the vendor does not tell.
        usd_per_megapixel: Price of a million pixels of all frames, in place of it.
        sends_size: False for a model that follows the shape of the first picture.
        has_seed, has_negative_prompt: Whether its type has the parameter.
        max_prompt: Longest prompt, in UTF-16 code units as Runway counts.
        extras: Further parameters, sent as they are.
        price_basis: Where the price comes from.
        fps: Frames per second of its files.
    """

    model: str
    sizes: Mapping[str, Size]
    durations_s: tuple[int, ...]
    num_pixels: int = 1280 * 720
    usd_per_s: float | None = None
    usd_per_megapixel: float | None = None
    sends_size: bool = True
    has_seed: bool = False
    has_negative_prompt: bool = False
    max_prompt: int = 1000
    extras: Mapping[str, Any] = field(default_factory=dict)
    price_basis: str = ""
    fps: float = 24.0

    def size_name(self, size_px: Size) -> str:
        """What the API calls a size of this model.

        Raises:
            ValueError: The model does not make it.
        """
        for name, known_px in self.sizes.items():
            if known_px == size_px:
                return name
        sizes = ", ".join(f"{width}x{height}" for width, height in self.sizes.values())
        raise ValueError(f"{self.model}: got {size_px[0]}x{size_px[1]} px, expected one of {sizes}")

    def nearest_size(self, photo_size_px: Size, long_side_px: int | None) -> Size:
        """The size of the nearest shape, and among equal shapes the one whose longer side is nearest to the wanted."""
        aspect = math.log(photo_size_px[0] / photo_size_px[1])

        def misfit(size_px: Size) -> float:
            return abs(math.log(size_px[0] / size_px[1]) - aspect)

        best = min(map(misfit, self.sizes.values()))
        fitting = [size_px for size_px in self.sizes.values() if misfit(size_px) <= best + _SHAPE_TOLERANCE]
        if long_side_px is None:
            return min(fitting, key=lambda size_px: abs(math.log(size_px[0] * size_px[1] / self.num_pixels)))
        return min(fitting, key=lambda size_px: abs(math.log(max(size_px) / long_side_px)))

    def nearest_duration_s(self, num_frames: int | None) -> int:
        """The length nearest to so many frames; the shortest, which is the cheapest, without a wish."""
        if num_frames is None:
            return self.durations_s[0]
        return min(self.durations_s, key=lambda duration_s: abs(duration_s * self.fps - num_frames))

    def price_usd(self, size_px: Size, duration_s: float) -> float | None:
        """Price of a clip; None where it is not known."""
        if self.usd_per_s is not None:
            return self.usd_per_s * duration_s
        if self.usd_per_megapixel is not None:
            return self.usd_per_megapixel * size_px[0] * size_px[1] * self.fps * duration_s / 1e6
        return None


def _ratios(*names: str) -> dict[str, Size]:
    sizes = {}
    for name in names:
        width, height = name.split(":")
        sizes[name] = (int(width), int(height))
    return sizes


_HD = _ratios("1280:720", "720:1280")
_VEO = HostedSpec(
    model="veo3.1",
    sizes=_HD | _ratios("1920:1080", "1080:1920"),
    durations_s=(4, 6, 8),
    usd_per_s=0.20,  # 20 credits without sound, 40 with it
    has_seed=True,
    has_negative_prompt=True,
    extras={"audio": False},
    price_basis=RUNWAY_PRICES,
)
_SEEDANCE_SIZES = _ratios("992:432", "864:496", "752:560", "640:640", "560:752", "496:864") | _ratios(
    "1470:630", "1280:720", "1112:834", "960:960", "834:1112", "720:1280"
)
_SEEDANCE_25_SIZES = _ratios("854:480", "752:560", "640:640", "560:752", "480:854") | _ratios(
    "1470:630", "1280:720", "1112:834", "960:960", "834:1112", "720:1280"
)
_SEEDANCE = HostedSpec(
    model="seedance2",
    sizes=_SEEDANCE_SIZES,
    durations_s=tuple(range(4, 16)),
    usd_per_s=0.36,
    has_seed=True,
    max_prompt=3500,
    extras={"audio": False},
    price_basis=RUNWAY_PRICES,
)


def _kling(model: str, *ratios: str, durations_s: tuple[int, ...], has_audio: bool = True) -> HostedSpec:
    return HostedSpec(
        model=model,
        sizes=_ratios(*ratios),
        durations_s=durations_s,
        sends_size=has_audio,
        extras={"audio": False} if has_audio else {},
    )


def _follows_first(
    model: str, *ratios: str, fps: float = 24.0, has_seed: bool = False, **extras: str | bool
) -> HostedSpec:
    return HostedSpec(
        model=model,
        sizes=_ratios(*ratios),
        durations_s=tuple(range(5, 16)),
        sends_size=False,
        has_seed=has_seed,
        extras=extras,
        fps=fps,
    )


_768P = ("1360:768", "1024:768", "768:768", "768:1024", "768:1360")
_WAN3_720P = ("1280:720", "1104:832", "960:960", "832:1104", "720:1280")
_KLING_3_S = tuple(range(3, 16))
_RUNWAY = (
    replace(_VEO, model="veo3.1_fast", usd_per_s=0.10),  # 10 credits without sound, 15 with it
    _VEO,
    _SEEDANCE,
    replace(_SEEDANCE, model="seedance2_fast", usd_per_s=None, price_basis=""),
    replace(_SEEDANCE, model="seedance2_mini", usd_per_s=None, price_basis=""),
    replace(
        _SEEDANCE,
        model="seedance2_5",
        sizes=_SEEDANCE_25_SIZES,
        usd_per_s=None,
        price_basis="",
    ),
    HostedSpec(
        model="gemini_omni_flash_1.1",
        sizes=_HD | _ratios("1920:1080", "1080:1920"),
        durations_s=tuple(range(3, 11)),
    ),
    # Kling 2.5 takes no size: it follows the first picture, which has one of these.
    _kling("kling2.5_turbo_pro", "1280:720", "720:1280", "960:960", durations_s=(5, 10), has_audio=False),
    _kling("kling3.0_standard", "1280:720", "720:1280", "960:960", durations_s=_KLING_3_S),
    _kling("kling3.0_pro", "1920:1080", "1080:1920", "1440:1440", durations_s=_KLING_3_S),
    _kling("klingO3_standard", "1280:720", "720:1280", "960:960", durations_s=_KLING_3_S),
    _kling("klingO3_pro", "1920:1080", "1080:1920", "1440:1440", durations_s=_KLING_3_S),
    _follows_first("wan3", *_WAN3_720P, fps=30.0, ratio="auto_720p", audio=False),
    _follows_first("wan3_prime", *_WAN3_720P, fps=30.0, ratio="auto_720p", audio=False),
    _follows_first("hailuo3", *_768P, ratio="adaptive", resolution="768p"),
    _follows_first("h3_max", *_768P, has_seed=True, resolution="768p", prompt_expansion_mode="disabled"),
)
RUNWAY_MODELS: Mapping[str, HostedSpec] = MappingProxyType({spec.model: spec for spec in _RUNWAY})
"""Runway's models by name; the first is the one that `runway` alone stands for, the cheapest with a known price."""

_LUMA_720P: Mapping[str, Size] = MappingProxyType(
    {
        "16:9": (1280, 720),
        "4:3": (1152, 864),
        "1:1": (1024, 1024),
        "3:4": (864, 1152),
        "9:16": (720, 1280),
        "21:9": (1552, 656),
        "9:21": (656, 1552),
    }
)
_LUMA_SIZES = {
    f"{ratio} {name}": (round(width * scale), round(height * scale))
    for name, scale in (("540p", 0.75), ("720p", 1.0), ("1080p", 1.5))
    for ratio, (width, height) in _LUMA_720P.items()
}
_RAY = HostedSpec(
    model="ray-2",
    sizes=_LUMA_SIZES,
    durations_s=(5, 9),
    usd_per_megapixel=0.0064,
    max_prompt=5000,
    price_basis=LUMA_PRICES,
)
LUMA_MODELS: Mapping[str, HostedSpec] = MappingProxyType(
    {
        "ray-2": _RAY,
        "ray-flash-2": replace(_RAY, model="ray-flash-2", usd_per_megapixel=0.0022),
    }
)
"""Luma's models by name; the first is the one that `luma` alone stands for."""


LUMA_AGENTS_MODELS: Mapping[str, HostedSpec] = MappingProxyType(
    {
        "ray-3.2": HostedSpec(
            model="ray-3.2",
            sizes={
                f"{ratio} {name}": (round(width * scale), round(height * scale))
                for name, scale in (("360p", 0.5), ("540p", 0.75), ("720p", 1.0), ("1080p", 1.5))
                for ratio, (width, height) in _LUMA_720P.items()
                if ratio != "9:21"
            },
            durations_s=(5, 10),
            max_prompt=6000,
        )
    }
)
"""Luma's models behind its Agents API, which prices videos by resolution and length; that table could not be read."""

_VEO_SIZES = {
    f"{ratio} {name}": size_px
    for name, long_px, short_px in (("720p", 1280, 720), ("1080p", 1920, 1080))
    for ratio, size_px in (("16:9", (long_px, short_px)), ("9:16", (short_px, long_px)))
}
_VEO_GOOGLE = HostedSpec(
    model="veo-3.1-generate-001",
    sizes=_VEO_SIZES,
    durations_s=(4, 6, 8),
    usd_per_s=0.20,
    has_seed=True,
    has_negative_prompt=True,
    extras={"generate_audio": False},
    price_basis="dollars per second without sound by vercel.com/ai-gateway, which passes on Google's prices",
)
VEO_MODELS: Mapping[str, HostedSpec] = MappingProxyType(
    {
        "3.1": _VEO_GOOGLE,
        "3.1-fast": replace(_VEO_GOOGLE, model="veo-3.1-fast-generate-001", usd_per_s=None, price_basis=""),
    }
)
"""Google's models by the name after the colon; the first is the one that `veo` alone stands for."""


def chosen_spec(name: str, models: Mapping[str, HostedSpec]) -> HostedSpec:
    """The model that a name such as ``runway`` or ``runway:veo3.1`` stands for.

    Raises:
        ValueError: Unknown model; the message lists those that take a last frame.
    """
    service, _, model = name.partition(":")
    if not model and ":" not in name:
        return next(iter(models.values()))
    if model not in models:
        raise ValueError(f"unknown model {name!r}, expected {service}: and one of {', '.join(models)}")
    return models[model]
