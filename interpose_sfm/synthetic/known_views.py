"""Views of known geometry, recognised by their looks: what networks that answer with the truth stand on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from interpose_sfm import geometry
from interpose_sfm.pose.point_maps.crops import Crop
from interpose_sfm.products import FloatArray, ImageArray, Intrinsics, Pose
from interpose_sfm.synthetic.render import RenderOptions, render
from interpose_sfm.synthetic.scene import Scene

FAR_M = 100.0
"""Depth of the sky."""

_THUMBNAIL_PX = 24
_MAX_DIFFERENCE = 12.0  # grey levels, root mean square: compression stays far below, the next view of a clip above


@dataclass(frozen=True)
class KnownView:
    """A crop of known geometry.

    Attributes:
        thumbnail: By which it is recognised.
        intrinsics, cam_from_world: Of the crop.
        depths: (h, w) z in the camera, metres.
        points_in_world: (h, w, 3).
    """

    thumbnail: FloatArray
    intrinsics: Intrinsics
    cam_from_world: Pose
    depths: FloatArray
    points_in_world: FloatArray


class KnownViews:
    """Views are made known beforehand, so that a compressed frame of a clip is still known.

    Args:
        scene: What the views show.
        cut: Makes of a picture what the network sees.
    """

    def __init__(self, scene: Scene, cut: Callable[[ImageArray], Crop]) -> None:
        self._scene, self._cut = scene, cut
        self._views: list[KnownView] = []

    def __getitem__(self, number: int) -> KnownView:
        return self._views[number]

    def add(self, image: ImageArray, intrinsics: Intrinsics, cam_from_world: Pose) -> None:
        """Make a view known before it is asked for, as it will come from the caller before cropping."""
        crop = self._cut(image)
        camera = crop.crop_intrinsics(intrinsics)
        view = render(self._scene, camera, cam_from_world, RenderOptions(supersampling=1))
        depths = np.where(np.isfinite(view.depth), view.depth, FAR_M)
        points = (depths[..., None] * rays(camera) - cam_from_world.translation) @ cam_from_world.rotation
        self._views.append(KnownView(_thumbnail(crop.image), camera, cam_from_world, depths, points))

    def recognise(self, image: ImageArray) -> int:
        """Number of the known view that a crop shows.

        Raises:
            ValueError: It is none of them.
        """
        thumbnail = _thumbnail(image)
        differences = [float(np.sqrt(np.mean((known.thumbnail - thumbnail) ** 2))) for known in self._views]
        if not differences or min(differences) > _MAX_DIFFERENCE:
            raise ValueError("got a picture that is none of the known views; make it known first")
        return int(np.argmin(differences))


def seed_of(*parts: int) -> int:
    """A seed that is the same whenever the same is asked."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little")


def rays(camera: Intrinsics) -> FloatArray:
    """(h, w, 3) rays through the centres of all pixels, at depth 1."""
    y, x = np.mgrid[: camera.height_px, : camera.width_px] + 0.5
    return geometry.pixel_to_ray(np.stack([x, y], axis=-1), camera)


def _thumbnail(image: ImageArray) -> FloatArray:
    small = Image.fromarray(image).convert("L").resize((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.BOX)
    return np.asarray(small, np.float64)
