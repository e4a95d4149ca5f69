"""The HDF5 store of pose hypotheses, with the estimates behind them."""

from __future__ import annotations

from typing import Any

import numpy as np

from interpose_sfm.products import (
    DepthSamples,
    Evidence,
    FloatArray,
    Intrinsics,
    Pose,
    PoseHypothesis,
    PoseStatus,
    ViewPoses,
)
from interpose_sfm.storage.arrays import checked_array, put_array, put_texts
from interpose_sfm.storage.stores import Store

_POINT_FIELDS = ("points_a_px", "points_b_px")
_DEPTH_FIELDS = ("depths_a", "depths_b")
_SAMPLE_FIELDS = ("seen_a", "seen_b")
_EVIDENCE_FIELDS = (
    "num_matches",
    "num_inliers",
    "inlier_share",
    "mean_score",
    "density",
    "triangulation_angle_deg",
    "is_calibrated",
    "agreement",
    "weight",
    "surprise",
)
_CAMERA_FIELDS = ("width_px", "height_px", "focal_px", "cx_px", "cy_px", "is_trusted", "aspect")


class HypothesisStore(Store[tuple[PoseHypothesis, ...]]):
    """All pose hypotheses of one clip of one pair, see `store_key`; row i of every dataset belongs to hypothesis i.

    The frames of all hypotheses follow one another in ``frames``; ``frame_counts`` says how many each has. Without a
    pose (``has_pose``) the rows of ``rotations`` and ``translations`` are NaN. Group ``estimates/i`` holds what the
    estimator said for hypothesis i; items of earlier versions lack it, or a part of its evidence.
    """

    kind = "hypotheses"

    def _write(self, group: Any, value: tuple[PoseHypothesis, ...]) -> None:
        n = len(value)
        poses = [hypothesis.b_from_a for hypothesis in value]
        rotations, translations = np.full((n, 3, 3), np.nan), np.full((n, 3), np.nan)
        for i, pose in enumerate(poses):
            if pose is not None:
                rotations[i] = checked_array("rotation", pose.rotation, np.float64, (3, 3))
                translations[i] = checked_array("translation", pose.translation, np.float64, (3,))
        frames = [frame for hypothesis in value for frame in hypothesis.frames]
        put_texts(group, "clips", [hypothesis.clip for hypothesis in value])
        put_texts(group, "statuses", [hypothesis.status.value for hypothesis in value])
        put_array(group, "frames", np.array(frames, dtype=np.int64), np.int64, (len(frames),))
        counts = np.array([len(hypothesis.frames) for hypothesis in value], dtype=np.int64)
        put_array(group, "frame_counts", counts, np.int64, (n,))
        put_array(group, "has_pose", np.array([pose is not None for pose in poses], dtype=np.bool_), np.bool_, (n,))
        put_array(group, "rotations", rotations, np.float64, (n, 3, 3))
        put_array(group, "translations", translations, np.float64, (n, 3))
        spreads = np.array([hypothesis.spread_deg for hypothesis in value], dtype=np.float64)
        put_array(group, "spreads_deg", spreads, np.float64, (n,))
        inliers = np.array([hypothesis.num_inliers for hypothesis in value], dtype=np.int64)
        put_array(group, "num_inliers", inliers, np.int64, (n,))
        estimates = group.create_group("estimates")
        for i, hypothesis in enumerate(value):
            if hypothesis.estimate is not None:
                _write_estimate(estimates.create_group(str(i)), hypothesis.estimate)

    def _read(self, group: Any) -> tuple[PoseHypothesis, ...]:
        counts = group["frame_counts"][()]
        frames = np.split(group["frames"][()], np.cumsum(counts)[:-1])
        clips, statuses = group["clips"].asstr()[()], group["statuses"].asstr()[()]
        has_pose, rotations, translations = group["has_pose"][()], group["rotations"][()], group["translations"][()]
        spreads, inliers = group["spreads_deg"][()].tolist(), group["num_inliers"][()].tolist()
        estimates = group.get("estimates", {})
        return tuple(
            PoseHypothesis(
                clip=str(clips[i]),
                frames=tuple(frames[i].tolist()),
                status=PoseStatus(statuses[i]),
                b_from_a=Pose(rotations[i].copy(), translations[i].copy()) if has_pose[i] else None,
                spread_deg=spreads[i],
                num_inliers=inliers[i],
                estimate=_read_estimate(estimates[str(i)]) if str(i) in estimates else None,
            )
            for i in range(len(counts))
        )


def _write_estimate(group: Any, value: ViewPoses) -> None:
    group.attrs["status"] = value.status.value
    group.attrs["spread_deg"] = value.spread_deg
    poses = [np.full((3, 4), np.nan) if pose is None else _matrix(pose) for pose in value.cam_from_first]
    put_array(group, "cam_from_first", np.array(poses), np.float64, (len(poses), 3, 4))
    n = len(value.points_a_px)
    for name in _POINT_FIELDS:
        put_array(group, name, getattr(value, name), np.float64, (n, 2))
    for name in _DEPTH_FIELDS:
        put_array(group, name, getattr(value, name), np.float64, (n,))
    for name in _SAMPLE_FIELDS:
        samples: DepthSamples = getattr(value, name)
        rows = np.column_stack([samples.points_px, samples.depths])
        put_array(group, name, rows, np.float64, (len(samples.depths), 3))
    if value.evidence is not None:
        cues = [float(getattr(value.evidence, name)) for name in _EVIDENCE_FIELDS]
        put_array(group, "evidence", np.array(cues), np.float64, (len(_EVIDENCE_FIELDS),))
    cameras = np.array([[float(getattr(camera, name)) for name in _CAMERA_FIELDS] for camera in value.intrinsics])
    cameras = cameras.reshape(-1, len(_CAMERA_FIELDS))
    put_array(group, "intrinsics", cameras, np.float64, (len(value.intrinsics), len(_CAMERA_FIELDS)))
    put_texts(group, "camera_models", [camera.model for camera in value.intrinsics])
    distortion = [coefficient for camera in value.intrinsics for coefficient in camera.distortion]
    put_array(group, "distortion", np.array(distortion, dtype=np.float64), np.float64, (len(distortion),))
    counts = np.array([len(camera.distortion) for camera in value.intrinsics], dtype=np.int64)
    put_array(group, "distortion_counts", counts, np.int64, (len(counts),))


def _read_estimate(group: Any) -> ViewPoses | None:
    """None where an earlier version stored it with fewer cues or plainer cameras, so that it is made again."""
    if "evidence" in group and group["evidence"].shape != (len(_EVIDENCE_FIELDS),):
        return None
    if "camera_models" not in group:
        return None
    return ViewPoses(
        status=PoseStatus(str(group.attrs["status"])),
        cam_from_first=tuple(_pose(matrix) for matrix in group["cam_from_first"][()]),
        spread_deg=float(group.attrs["spread_deg"]),
        evidence=_evidence(group["evidence"][()].tolist()) if "evidence" in group else None,
        intrinsics=_cameras(group),
        points_a_px=group["points_a_px"][()],
        points_b_px=group["points_b_px"][()],
        depths_a=group["depths_a"][()],
        depths_b=group["depths_b"][()],
        seen_a=_samples(group["seen_a"][()]),
        seen_b=_samples(group["seen_b"][()]),
    )


def _samples(rows: FloatArray) -> DepthSamples:
    return DepthSamples(rows[:, :2].copy(), rows[:, 2].copy())


def _matrix(pose: Pose) -> FloatArray:
    return np.column_stack([pose.rotation, pose.translation])


def _pose(matrix: FloatArray) -> Pose | None:
    return None if np.isnan(matrix).any() else Pose(matrix[:, :3].copy(), matrix[:, 3].copy())


def _evidence(cues: list[float]) -> Evidence:
    num_matches, num_inliers, inlier_share, mean_score, density, angle_deg, is_calibrated, *weighed = cues
    counts = int(num_matches), int(num_inliers)
    return Evidence(*counts, inlier_share, mean_score, density, angle_deg, bool(is_calibrated), *weighed)


def _cameras(group: Any) -> tuple[Intrinsics, ...]:
    rows, models = group["intrinsics"][()].tolist(), group["camera_models"].asstr()[()]
    distortions = np.split(group["distortion"][()], np.cumsum(group["distortion_counts"][()])[:-1])
    cameras = []
    for row, model, distortion in zip(rows, models, distortions, strict=False):  # no camera splits into one piece
        width_px, height_px, focal_px, cx_px, cy_px, is_trusted, aspect = row
        size = int(width_px), int(height_px)
        lens = tuple(distortion.tolist())
        cameras.append(Intrinsics(*size, focal_px, cx_px, cy_px, lens, bool(is_trusted), str(model), aspect))
    return tuple(cameras)
