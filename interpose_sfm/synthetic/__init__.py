"""Synthetic photo collections of known geometry, for the demonstration and the tests."""

from interpose_sfm.synthetic.cameras import Viewpoint, center_in_world, interpolate, look_at, orbit
from interpose_sfm.synthetic.render import Rendering, RenderOptions, render
from interpose_sfm.synthetic.sample import (
    SampleOptions,
    SampleTruth,
    plan_sample,
    read_sample,
    write_clip,
    write_sample,
)
from interpose_sfm.synthetic.scene import DEFAULT_TEXELS_PER_M, Rectangle, Scene
from interpose_sfm.synthetic.scoring import auc, pose_errors_deg
from interpose_sfm.synthetic.textures import Texture, make_texture

__all__ = [
    "DEFAULT_TEXELS_PER_M",
    "Rectangle",
    "RenderOptions",
    "Rendering",
    "SampleOptions",
    "SampleTruth",
    "Scene",
    "Texture",
    "Viewpoint",
    "auc",
    "center_in_world",
    "interpolate",
    "look_at",
    "make_texture",
    "orbit",
    "plan_sample",
    "pose_errors_deg",
    "read_sample",
    "render",
    "write_clip",
    "write_sample",
]
