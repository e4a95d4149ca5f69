"""Runs MapAnything's published network on a few pictures at once, told of what is known of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.options import MapAnythingOptions, NetworkDtype
from interpose_sfm.options.devices import pick_device
from interpose_sfm.pose.mapanything import checkout
from interpose_sfm.pose.mapanything.architecture import NORMALISATION, Architecture, arguments
from interpose_sfm.pose.mapanything.checkout import PublishedCode
from interpose_sfm.pose.scenes import SceneGuess, SceneNetwork, Told
from interpose_sfm.products import DepthSamples, ImageArray, Intrinsics, Pose
from interpose_sfm.storage.content_keys import file_sha256

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

REPO, WEIGHTS_FILE, LICENCE = "facebook/map-anything-apache", "model.safetensors", "Apache-2.0"
NON_COMMERCIAL_REPO = "facebook/map-anything"  # CC BY-NC 4.0, the same shapes

MEAN_RGB, SIGMA_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what the encoder's pictures are normalised by
MAX_BEND_DEG = 0.5  # of a ray by distortion, of cameras that are told as pinholes; focal lengths of EXIF err as much
_AMP = {NetworkDtype.BFLOAT16: "bf16", NetworkDtype.FLOAT16: "fp16"}


class MapAnythingNetwork:
    """The published network class with weights in it.

    Args:
        module: An instance of ``MapAnything``.
        identity: Names the weights and settings.
        device: torch device.
        dtype: Number format of what autocast covers.
    """

    def __init__(
        self, module: torch.nn.Module, identity: str, device: str = "cpu", dtype: NetworkDtype = NetworkDtype.FLOAT32
    ) -> None:
        self.identity = identity
        self._device, self._dtype = device, dtype
        self._module: Any = module.eval().to(device)

    def guess(self, images: Sequence[ImageArray], told: Sequence[Told] = ()) -> SceneGuess | None:
        """See :class:`SceneNetwork`; the network is told cameras that are pinholes, and what base models know."""
        import torch

        told = told or [Told()] * len(images)
        cameras = [each.camera for each in told]
        mean, sigma = (torch.tensor(rgb)[:, None, None] for rgb in (MEAN_RGB, SIGMA_RGB))
        views = []
        for image, known in zip(images, _taken(told), strict=True):
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255.0
            view: dict[str, Any] = {"img": ((pixels - mean) / sigma)[None], "data_norm_type": [NORMALISATION]}
            views.append(view | {name: torch.from_numpy(array)[None] for name, array in known.items()})
        with torch.inference_mode():
            said = self._module.infer(
                views,
                memory_efficient_inference=False,
                use_amp=self._dtype in _AMP,
                amp_dtype=_AMP.get(self._dtype, "fp32"),
                apply_mask=False,
                mask_edges=False,
            )
        depths, confidences, matrices, world_from_cam = (
            np.stack([view[name][0].float().cpu().numpy() for view in said])
            for name in ("depth_z", "conf", "intrinsics", "camera_poses")
        )
        focals_px = np.sqrt(np.abs(matrices[:, 0, 0].astype(np.float64) * matrices[:, 1, 1]))
        is_camera = np.all(np.isfinite(world_from_cam)) and np.all(np.isfinite(focals_px)) and np.all(focals_px > 0)
        if not is_camera:
            return None
        poses = [_cam_from_world(matrix.astype(np.float64)) for matrix in world_from_cam]
        found = [
            camera or Intrinsics(image.shape[1], image.shape[0], float(focal_px), *_center_px(matrix))
            for camera, image, focal_px, matrix in zip(cameras, images, focals_px, matrices, strict=True)
        ]
        first = Pose(np.eye(3), np.zeros(3))
        return SceneGuess(
            depths[..., 0],
            confidences,
            (first, *(geometry.relative_pose(pose, poses[0]) for pose in poses[1:])),
            tuple(found),
        )


def find_weights(options: MapAnythingOptions) -> Path | None:
    """The file of weights that the options name, or the published one in the cache of the hub; None without."""
    if options.mapanything_weights is not None:
        return options.mapanything_weights
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    cached = try_to_load_from_cache(REPO, WEIGHTS_FILE)
    return Path(cached) if isinstance(cached, str) else None


def load_network(options: MapAnythingOptions) -> SceneNetwork:
    """The network that the options name.

    Raises:
        ValueError: A checkout or weights that are not here or not what they should be, or a device that is not there.
        MissingDependencyError: What the code imports is not installed.
    """
    device = pick_device(options.mapanything_device, "mapanything-device")
    path = find_weights(options)
    if path is None:
        raise ValueError(
            f"the weights {REPO} ({LICENCE}) are not on this machine, and no run fetches them; get them with: "
            f"hf download {REPO} {WEIGHTS_FILE}, or name the file with --mapanything-weights"
        )
    if path.suffix != ".safetensors" or not path.is_file():
        raise ValueError(f"got the weights {path}, expected a .safetensors file, which holds numbers and runs nothing")
    module = build_module(checkout.load(options.mapanything_dir or checkout.default_dir()), Architecture())
    load_into(module, path)
    sha256 = file_sha256(path)
    logger.info("MapAnything on %s in %s: weights %s, SHA-256 %s", device, options.mapanything_dtype, path, sha256)
    return MapAnythingNetwork(module, f"{sha256} {options.mapanything_dtype.value}", device, options.mapanything_dtype)


def build_module(code: PublishedCode, architecture: Architecture) -> torch.nn.Module:
    """An instance of the published class with random weights; nothing is fetched for it."""
    with checkout.without_hub(code):
        module: torch.nn.Module = code.network(**arguments(architecture))
    return module.eval()


def load_into(module: torch.nn.Module, path: Path) -> None:
    """Fill a network with weights; every name and shape must fit, and none may be left over.

    Raises:
        ValueError: The weights are not those of the network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(module, str(path), strict=True)
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"the weights {path} do not fit their network: {reason}") from error


def _taken(told: Sequence[Told]) -> list[dict[str, np.ndarray]]:
    """What the published code takes of each picture, under its names.

    Its rules: depths need a camera, and poses are of one frame in which the first picture has one. So only the model
    that has the first picture tells poses, and those only if it has another one; of the other models depths are told.
    Units are not metres, and it is said so; then each picture's depths count by themselves.
    """
    first = told[0].placement
    beside = [known.placement for known in told[1:] if known.placement is not None]
    has_poses = first is not None and any(place.model == first.model for place in beside)
    found = []
    for known in told:
        taken: dict[str, np.ndarray] = {}
        camera, place = known.camera, known.placement
        if camera is not None and _is_pinhole(camera):
            taken["intrinsics"] = _matrix(camera).astype(np.float32)
            if place is not None and len(place.depths.depths):
                taken["depth_z"] = _depth_map(place.depths, (camera.height_px, camera.width_px))
        if has_poses and place is not None and first is not None and place.model == first.model:
            world_from_cam = place.cam_from_model.inverse()
            matrix = np.eye(4)
            matrix[:3] = np.column_stack([world_from_cam.rotation, world_from_cam.translation])
            taken["camera_poses"] = matrix.astype(np.float32)
        if taken.keys() - {"intrinsics"}:
            taken["is_metric_scale"] = np.array(False)
        found.append(taken)
    return found


def _depth_map(samples: DepthSamples, shape: tuple[int, int]) -> np.ndarray:
    """(h, w) float32 depths at the pixels that have one, zero elsewhere; of several in a pixel the nearest."""
    found = np.zeros(shape, np.float32)
    order = np.argsort(-samples.depths, kind="stable")
    x, y = np.floor(samples.points_px[order]).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < shape[1]) & (y < shape[0])
    found[y[inside], x[inside]] = samples.depths[order][inside]
    return found


def _is_pinhole(camera: Intrinsics) -> bool:
    """Whether a matrix says where the border of a picture looks; one for a fisheye or a bent lens would mislead."""
    border_px = np.stack(np.meshgrid([0.0, 0.5, 1.0], [0.0, 0.5, 1.0]), axis=-1).reshape(-1, 2)
    border_px *= camera.width_px, camera.height_px
    rays = geometry.unit_rays(border_px, camera)
    straight = geometry.unit_rays(border_px, replace(camera, model="PINHOLE", distortion=()))
    return bool(np.all(np.linalg.norm(rays - straight, axis=1) < np.radians(MAX_BEND_DEG)))  # false for NaN


def _matrix(camera: Intrinsics) -> np.ndarray:
    """Pixel centres at whole numbers, as the published code counts; COLMAP counts from the corner."""
    along_x_px = 2.0 * camera.focal_px / (1.0 + camera.aspect)
    return np.array(
        [
            [along_x_px, 0.0, camera.cx_px - 0.5],
            [0.0, camera.aspect * along_x_px, camera.cy_px - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )


def _center_px(matrix: np.ndarray) -> tuple[float, float]:
    return float(matrix[0, 2]) + 0.5, float(matrix[1, 2]) + 0.5


def _cam_from_world(world_from_cam: np.ndarray) -> Pose:
    return Pose(geometry.nearest_rotation(world_from_cam[:3, :3]), world_from_cam[:3, 3]).inverse()
