"""A generated clip and its record, for the tests of what keeps them."""

from __future__ import annotations

import dataclasses

from bridging_scene import pan
from interpose_sfm.clips.mp4 import encode_mp4
from interpose_sfm.clips.record import ClipRecord, ShownPhoto
from interpose_sfm.options import Fit
from interpose_sfm.products import ClipFormat, FrameMapping

A, B = "a.jpg", "b.jpg"
FRAMES = pan(seed=5, num_frames=5, width_px=96, height_px=64)
VIDEO = encode_mp4(FRAMES, 8.0)
FORMAT = ClipFormat(width_px=96, height_px=64, num_frames=5, fps=8.0)


def record(key: str = "k0", a: str = A, b: str = B, **changes: object) -> ClipRecord:
    mapping = FrameMapping((0.5, 0.5), (-3.0, 0.0))
    plain = ClipRecord(
        key=key,
        sha256="",
        a=ShownPhoto(name=a, width_px=200, height_px=128, frame_from_photo=mapping),
        b=ShownPhoto(name=b, width_px=200, height_px=128, frame_from_photo=None),
        backwards=False,
        generator="crossfade",
        settings={"steps": 3, "scale": 1.5, "model": "x", "fast": True},
        revision="r1",
        prompt="a wall",
        negative_prompt="",
        seed=7,
        fit=Fit.CROP,
        asked=FORMAT,
        got=FORMAT,
        time_s=1.25,
        cost_usd=0.5,
        made_at="2026-01-01T00:00:00+00:00",
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]
