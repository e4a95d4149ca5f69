"""Runs Depth Anything 3's published network on a few pictures at once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.options import Da3Options, NetworkDtype
from interpose_sfm.options.devices import pick_device
from interpose_sfm.pose.da3 import checkpoint
from interpose_sfm.pose.da3.architectures import Architecture
from interpose_sfm.pose.da3.network_code import NetworkCode, load_network_code
from interpose_sfm.pose.scenes import SceneGuess, SceneNetwork, Told, central_camera
from interpose_sfm.products import ImageArray, Pose

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

MEAN_RGB, SIGMA_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as the network was trained


class Da3Network:
    """The published network class with weights in it.

    Args:
        module: An instance of ``DepthAnything3Net`` with a camera decoder.
        identity: Names the weights and settings.
        device: torch device.
        dtype: Number format of the backbone; the heads run in float32.
    """

    def __init__(
        self, module: torch.nn.Module, identity: str, device: str = "cpu", dtype: NetworkDtype = NetworkDtype.FLOAT32
    ) -> None:
        self.identity = identity
        self._device, self._dtype = device, dtype
        self._module: Any = module.eval().to(device)

    def guess(self, images: Sequence[ImageArray], told: Sequence[Told] = ()) -> SceneGuess | None:
        """See :class:`SceneNetwork`; what is told is not taken."""
        import torch

        pixels = torch.from_numpy(np.stack(images)).to(self._device).permute(0, 3, 1, 2).float() / 255.0
        mean, sigma = (torch.tensor(rgb, device=self._device)[:, None, None] for rgb in (MEAN_RGB, SIGMA_RGB))
        with torch.inference_mode(), self._autocast():
            said = self._module(((pixels - mean) / sigma)[None])  # (1, k, 3, h, w)
        depths, confidences, cam_from_world, cameras = (
            said[name][0].float().cpu().numpy() for name in ("depth", "depth_conf", "extrinsics", "intrinsics")
        )
        focals_px = np.sqrt(cameras[:, 0, 0].astype(np.float64) * cameras[:, 1, 1])
        if not (np.all(np.isfinite(cam_from_world)) and np.all(np.isfinite(focals_px)) and np.all(focals_px > 0)):
            return None
        poses = [_pose(matrix.astype(np.float64)) for matrix in cam_from_world]  # (3, 4) each
        placed = (geometry.relative_pose(pose, poses[0]) for pose in poses[1:])
        return SceneGuess(
            depths,
            confidences,
            (Pose(np.eye(3), np.zeros(3)), *placed),
            tuple(central_camera(float(focal_px), depths.shape[1:]) for focal_px in focals_px),
        )

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        import torch

        if self._dtype is NetworkDtype.FLOAT32:
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self._device).type, dtype=getattr(torch, self._dtype.value))


def load_network(options: Da3Options) -> SceneNetwork:
    """The network that the options name.

    Raises:
        ValueError: Weights that are not here or do not fit, or a device that is not there.
        MissingDependencyError: The network code is not installed.
    """
    code = load_network_code()
    device = pick_device(options.da3_device, "da3-device")
    weights = checkpoint.locate(options.da3_weights, on_gpu=device.startswith("cuda"))
    module = build_module(code, weights.architecture)
    checkpoint.load_into(module, weights.path)
    logger.info("Depth Anything 3 (%s) on %s in %s", weights.architecture.backbone, device, options.da3_dtype)
    return Da3Network(module, f"{weights.sha256} {options.da3_dtype.value}", device, options.da3_dtype)


def build_module(code: NetworkCode, architecture: Architecture) -> torch.nn.Module:
    """An instance of the published class with random weights.

    Args:
        code: The published classes.
        architecture: What they are built from.
    """
    start, width = architecture.alternating_from, architecture.width
    seen = 2 * width  # tokens of a view by itself, and beside the others
    backbone = code.backbone(
        name=architecture.backbone,
        out_layers=list(architecture.out_layers),
        alt_start=start,
        qknorm_start=start,
        rope_start=start,
        cat_token=True,
    )
    head = code.head(
        dim_in=seen,
        output_dim=2,
        features=architecture.head_features,
        out_channels=list(architecture.head_channels),
    )
    module: torch.nn.Module = code.network(
        net=backbone,
        head=head,
        cam_dec=code.camera_decoder(dim_in=seen),
        cam_enc=code.camera_encoder(dim_out=width),  # unused here; its weights are in the published file
    )
    return module.eval()


def _pose(cam_from_world: np.ndarray) -> Pose:
    return Pose(geometry.nearest_rotation(cam_from_world[:, :3]), cam_from_world[:, 3])
