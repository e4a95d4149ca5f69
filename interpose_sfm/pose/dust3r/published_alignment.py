"""The global aligner of DUSt3R's published code, for comparison: gradient descent on all point maps at once."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.pose.dust3r.network_code import find_network_code
from interpose_sfm.pose.point_maps.alignment import Alignment, Edge
from interpose_sfm.pose.point_maps.maps import PointMaps
from interpose_sfm.pose.point_maps.pair_geometry import STRIDE_PX
from interpose_sfm.products import Intrinsics, Pose

logger = logging.getLogger(__name__)

NUM_STEPS = 300  # as in its demonstration, as are the schedule and the learning rate
LEARNING_RATE = 0.01
SPREAD_DEG = 1.0  # the aligner does not say how sure it is


def align(
    maps: Mapping[Edge, PointMaps], cameras: Sequence[Intrinsics], device: str = "cpu", seed: int = 0
) -> Alignment:
    """Align the point maps of two or more views.

    Starts from a spanning tree (``init="mst"``), or, for two views, looks at the better one of the two point maps, as
    the published demonstration does. Focal lengths are found along with the poses unless all are trusted.

    Args:
        maps: Both orders of every pair of view indices that is used.
        cameras: Of the crops.
        device: torch device.
        seed: Of the initial values.

    Raises:
        MissingDependencyError: The published code is not installed.
    """
    import torch

    cloud_opt = find_network_code().module("cloud_opt")
    mode = cloud_opt.GlobalAlignerMode
    is_pair = len(cameras) == 2
    torch.manual_seed(seed)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        scene = cloud_opt.global_aligner(
            _as_inference(maps, cameras),
            device=device,
            mode=mode.PairViewer if is_pair else mode.PointCloudOptimizer,
            **({} if is_pair else {"verbose": False}),
        )
        if not is_pair:
            if all(camera.is_trusted for camera in cameras):
                scene.preset_focal([camera.focal_px for camera in cameras])
            scene.compute_global_alignment(init="mst", niter=NUM_STEPS, schedule="cosine", lr=LEARNING_RATE)
    if said.getvalue().strip():
        logger.debug("the global aligner says: %s", said.getvalue().strip())
    worlds = scene.get_im_poses().detach().cpu().numpy().astype(np.float64)
    focals = scene.get_focals().detach().cpu().numpy().astype(np.float64).ravel()
    depths = [depth.detach().cpu().numpy().astype(np.float64) for depth in scene.get_depthmaps()]
    return _as_alignment(worlds, focals.tolist(), depths, cameras)


def _as_inference(maps: Mapping[Edge, PointMaps], cameras: Sequence[Intrinsics]) -> dict[str, object]:
    """What the published inference would have returned for these pairs."""
    import torch

    pairs = list(maps)

    def view(side: int) -> dict[str, object]:
        places = [pair[side] for pair in pairs]
        shapes = [(cameras[place].height_px, cameras[place].width_px) for place in places]
        # The aligner keeps the pictures for display only.
        return {
            "idx": places,
            "img": [torch.zeros(3, *shape) for shape in shapes],
            "true_shape": torch.tensor(shapes),
            "instance": [str(place) for place in places],
        }

    def prediction(points: str, conf: str, name: str) -> dict[str, object]:
        return {
            name: [torch.from_numpy(np.array(getattr(maps[pair], points))) for pair in pairs],
            "conf": [torch.from_numpy(np.array(getattr(maps[pair], conf))) for pair in pairs],
        }

    return {
        "view1": view(0),
        "view2": view(1),
        "pred1": prediction("points_i", "conf_i", "pts3d"),
        "pred2": prediction("points_j_in_i", "conf_j", "pts3d_in_other_view"),
        "loss": None,
    }


def _as_alignment(
    worlds: np.ndarray, focals: Sequence[float], depths: Sequence[np.ndarray], cameras: Sequence[Intrinsics]
) -> Alignment:
    poses = [Pose(geometry.nearest_rotation(world[:3, :3]), world[:3, 3]).inverse() for world in worlds]
    picked = slice(STRIDE_PX // 2, None, STRIDE_PX)
    log_depths = []
    for depth in depths:
        thinned = depth[picked, picked].ravel()
        used = thinned > 0
        log_depths.append(np.log(thinned, where=used, out=np.full(len(thinned), np.nan)))
    intrinsics = tuple(replace(camera, focal_px=focal) for camera, focal in zip(cameras, focals, strict=True))
    from_first = tuple(geometry.relative_pose(pose, poses[0]) for pose in poses)
    first = Pose(np.eye(3), np.zeros(3))
    return Alignment((first, *from_first[1:]), intrinsics, tuple(log_depths), {}, SPREAD_DEG)
