"""Point clouds seen by known cameras: features, matches, databases and models of known truth."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pycolmap

from interpose_sfm import geometry
from interpose_sfm.colmap import reconstruction
from interpose_sfm.products import (
    Evidence,
    Features,
    FloatArray,
    ImagePair,
    IndexArray,
    Intrinsics,
    Link,
    Matches,
    Pose,
)
from interpose_sfm.synthetic import look_at, pose_errors_deg

WIDTH_PX, HEIGHT_PX, FOCAL_PX = 800, 600, 700.0
DESCRIPTOR_SIZE = 16


# ---------------------------------------------------------------- scenes


def camera(focal_px: float = FOCAL_PX, *, radial: float = 0.0, is_trusted: bool = True) -> Intrinsics:
    """A camera with its principal point in the middle."""
    return Intrinsics(WIDTH_PX, HEIGHT_PX, focal_px, WIDTH_PX / 2, HEIGHT_PX / 2, (radial,), is_trusted)


def cloud(
    seed: int,
    num: int = 300,
    half_size: Sequence[float] = (2.5, 1.5, 1.5),
    center: Sequence[float] = (0.0, 0.0, 0.0),
) -> FloatArray:
    """(num, 3) points in a box."""
    return np.random.default_rng(seed).uniform(-1, 1, (num, 3)) * half_size + np.asarray(center)


def arc(azimuths_deg: Sequence[float], radius: float = 7.0) -> list[Pose]:
    """cam_from_world of cameras on a circle that look at the origin, each at a height of its own."""
    poses = []
    for index, azimuth_deg in enumerate(azimuths_deg):
        angle = np.radians(azimuth_deg)
        poses.append(look_at((radius * np.sin(angle), -radius * np.cos(angle), 0.6 + 0.3 * (index % 3)), (0, 0, 0)))
    return poses


def turn(azimuths_deg: Sequence[float]) -> list[Pose]:
    """cam_from_world of one camera that turns on the spot, with a little tilt, starting with a view of the origin."""
    start = look_at((0, -7, 0.6), (0, 0, 0))
    turns = [geometry.rotation_exp(np.radians([0.2 * a, a, 0.1 * a])) for a in azimuths_deg]
    return [Pose(r @ start.rotation, r @ start.translation) for r in turns]


@dataclass(frozen=True)
class Scene:
    """Cameras, and the key points that they see of a cloud.

    Attributes:
        points_in_world: (n, 3).
        cam_from_world: Of every view.
        intrinsics: The true camera of every view.
        features: Of every view; their rows are in random order.
        point_of_row: Of every view, which point a row shows; -1 for clutter that shows none.
    """

    points_in_world: FloatArray
    cam_from_world: tuple[Pose, ...]
    intrinsics: tuple[Intrinsics, ...]
    features: tuple[Features, ...]
    point_of_row: tuple[np.ndarray, ...]

    def b_from_a(self, a: int, b: int) -> Pose:
        """True relative pose, with a unit translation where there is one."""
        return geometry.with_unit_translation(geometry.relative_pose(self.cam_from_world[b], self.cam_from_world[a]))

    def true_rows(self, a: int, b: int) -> IndexArray:
        """(n, 2) rows of both views that show the same point, in the order of the points."""
        _, rows_a, rows_b = np.intersect1d(
            np.where(self.point_of_row[a] < 0, -1, self.point_of_row[a]),
            np.where(self.point_of_row[b] < 0, -2, self.point_of_row[b]),
            return_indices=True,
        )
        return np.stack([rows_a, rows_b], 1).astype(np.uint32)

    def matches(
        self,
        a: int,
        b: int,
        *,
        limit: int | None = None,
        outlier_share: float = 0.0,
        score: float = 0.9,
        outlier_score: float | None = None,
        seed: int = 0,
    ) -> Matches:
        """One-to-one matches, of which a share pairs key points that show different points.

        Args:
            limit: At most this many.
            outlier_share: Share of wrong matches.
            score, outlier_score: Confidence of right and of wrong matches; equal by default.
        """
        rng = np.random.default_rng(seed)
        rows = rng.permutation(self.true_rows(a, b))[:limit]
        num_wrong = round(outlier_share * len(rows))
        rows[:num_wrong, 1] = np.roll(rows[:num_wrong, 1], 1)
        scores = np.full(len(rows), score, np.float32)
        scores[:num_wrong] = score if outlier_score is None else outlier_score
        order = rng.permutation(len(rows))
        return Matches(rows[order], scores[order])

    def is_true(self, a: int, b: int, matches: Matches) -> np.ndarray:
        """(n,) bool: which matches show one point."""
        points_a, points_b = (self.point_of_row[v][matches.indices[:, k]] for k, v in enumerate((a, b)))
        return np.asarray((points_a == points_b) & (points_a >= 0))


def described_anew(features: Features, noise: float) -> Features:
    """Descriptors as another photo of the same points would have them."""
    drawn = np.random.default_rng(2).normal(size=features.descriptors.shape) / np.sqrt(features.descriptors.shape[1])
    descriptors = features.descriptors + noise * drawn
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return replace(features, descriptors=descriptors.astype(np.float32))


def undescribed(features: Features) -> Features:
    """The key points with descriptors that tell nothing, so that only matches that are given connect views."""
    return replace(features, descriptors=np.zeros_like(features.descriptors))


def observe(
    points_in_world: FloatArray,
    cam_from_world: Sequence[Pose],
    *,
    noise_px: float = 0.0,
    num_clutter: int | Sequence[int] = 0,
    intrinsics: Intrinsics | None = None,
    seed: int = 0,
) -> Scene:
    """Let cameras see a cloud.

    Args:
        noise_px: Standard deviation of each coordinate of a key point.
        num_clutter: Key points that show no point, over the whole picture; one number or one per view.
        intrinsics: Of all views.
        seed: Of noise, clutter, descriptors and order.
    """
    rng = np.random.default_rng(seed)
    intrinsics = intrinsics or camera()
    size = np.array([intrinsics.width_px, intrinsics.height_px])
    num_clutter = [num_clutter] * len(cam_from_world) if isinstance(num_clutter, int) else num_clutter
    descriptor_of_point = geometry.unit_vectors(rng.normal(size=(len(points_in_world), DESCRIPTOR_SIZE)))
    features, point_of_row = [], []
    for pose, num in zip(cam_from_world, num_clutter, strict=True):
        seen_px = geometry.project(points_in_world @ pose.rotation.T + pose.translation, intrinsics)
        seen_px += noise_px * rng.normal(size=seen_px.shape)
        ids = np.flatnonzero(np.all((seen_px > 0) & (seen_px < size), axis=1))  # false for points behind
        clutter_px = rng.uniform((0, 0), size, (num, 2))
        clutter = geometry.unit_vectors(rng.normal(size=(num, DESCRIPTOR_SIZE))) if num else np.zeros((0, 16))
        order = rng.permutation(len(ids) + num)
        features.append(
            Features(
                np.concatenate([seen_px[ids], clutter_px])[order],
                np.concatenate([descriptor_of_point[ids], clutter])[order].astype(np.float32),
                np.ones(len(order), np.float32),
                (intrinsics.width_px, intrinsics.height_px),
            )
        )
        point_of_row.append(np.concatenate([ids, np.full(num, -1)])[order])
    return Scene(
        points_in_world,
        tuple(cam_from_world),
        (intrinsics,) * len(cam_from_world),
        tuple(features),
        tuple(point_of_row),
    )


def pose_error_deg(found: Pose | None, truth: Pose) -> tuple[float, float]:
    """Angles of rotation and of direction between two relative poses; both must have a direction."""
    assert found is not None
    rotation = float(geometry.rotation_angle_deg(found.rotation @ truth.rotation.T))
    return rotation, float(geometry.direction_angle_deg(found.translation, truth.translation))


def worst_error_deg(
    model: pycolmap.Reconstruction, truth: Mapping[str, Pose], names: Collection[str] | None = None
) -> float:
    """Largest error of a relative pose between two photos of a model; 180 if one of those named is not in it.

    Args:
        truth: cam_from_world of the photos.
        names: Photos that count; all of the model by default.
    """
    found = reconstruction.poses(model)
    return float(pose_errors_deg({name: truth[name] for name in names or found}, found).max())


def turned(pose: Pose, angle_deg: float, axis: Sequence[float] = (0, 1, 0)) -> Pose:
    """The pose with a wrong rotation."""
    return Pose(geometry.rotation_from_axis_angle(axis, angle_deg) @ pose.rotation, pose.translation)


# ---------------------------------------------------------------- links


def evidence(
    *,
    num_inliers: int = 100,
    share: float = 0.85,
    score: float = 0.9,
    density: float = 0.5,
    angle_deg: float = 20.0,
    is_calibrated: bool = True,
    agreement: float = 0.95,
    surprise: float = 100.0,
) -> Evidence:
    """Evidence that every gate of the default options lets through."""
    return Evidence(
        round(num_inliers / share),
        num_inliers,
        share,
        score,
        density,
        angle_deg,
        is_calibrated,
        agreement,
        score * num_inliers,
        surprise,
    )


def link(
    a: str,
    b: str,
    b_from_a: Pose,
    found: Evidence | None = None,
    *,
    spread_deg: float = 0.5,
    points_px: tuple[FloatArray, FloatArray] | None = None,
) -> Link:
    """A link; without positions it gets as many (meaningless) ones as its evidence has inliers."""
    found = found or evidence()
    nowhere = np.zeros((found.num_inliers, 2))
    points_a_px, points_b_px = points_px or (nowhere, nowhere)
    return Link(ImagePair(a, b), b_from_a, spread_deg, points_a_px, points_b_px, found, "pair")


def link_of(scene: Scene, names: Sequence[str], a: int, b: int, limit: int | None = None) -> Link:
    """The true link between two views of a scene, with the positions of its key points."""
    rows = scene.matches(a, b, limit=limit).indices
    points_px = tuple(scene.features[v].keypoints_px[rows[:, k]] for k, v in enumerate((a, b)))
    return link(
        names[a],
        names[b],
        scene.b_from_a(a, b),
        evidence(num_inliers=len(rows)),
        points_px=points_px,  # type: ignore[arg-type]
    )


# ---------------------------------------------------------------- COLMAP databases and models


@dataclass(frozen=True)
class DatabaseOptions:
    """What goes into a database.

    Attributes:
        rows: (a, b) with a < b -> (n, 2) rows that the two views are matched by; these pairs are verified as well.
        raw: (a, b) -> (n, 2) rows that are matched only.
        unseen: Views -> rows of key points that the database does not hold, though the scene does.
        num_columns: Of the key points: 2, 4 or 6.
        with_descriptors: False for a database without any.
        ids: Image ids of the views; counted from 1 by default.
        shares_camera: One camera for all views, else one each.
    """

    rows: Mapping[tuple[int, int], IndexArray] = field(default_factory=dict)
    raw: Mapping[tuple[int, int], IndexArray] = field(default_factory=dict)
    num_columns: int = 2
    with_descriptors: bool = True
    ids: Sequence[int] = ()
    shares_camera: bool = True


def write_database(path: Path, scene: Scene, names: Sequence[str], options: DatabaseOptions | None = None) -> Path:
    """A COLMAP database with the key points of a scene, as COLMAP's own front end leaves it."""
    options = options or DatabaseOptions()
    ids = options.ids or range(1, len(names) + 1)
    with pycolmap.Database.open(path) as database, pycolmap.DatabaseTransaction(database):
        for camera_id in [1] if options.shares_camera else sorted(ids):
            stored = geometry.to_colmap_camera(scene.intrinsics[0], camera_id)
            database.write_camera(stored, use_camera_id=True)
            rig = pycolmap.Rig(rig_id=camera_id)
            rig.add_ref_sensor(stored.sensor_id)
            database.write_rig(rig, use_rig_id=True)
        for view, (name, image_id) in enumerate(zip(names, ids, strict=True)):
            camera_id = 1 if options.shares_camera else image_id
            image = pycolmap.Image(name=name, camera_id=camera_id, image_id=image_id)
            frame = pycolmap.Frame(frame_id=image_id, rig_id=camera_id)
            frame.add_data_id(image.data_id)
            database.write_frame(frame, use_frame_id=True)
            image.frame_id = image_id
            database.write_image(image, use_image_id=True)
            database.write_keypoints(image_id, colmap_keypoints(scene, view, options.num_columns))
            if options.with_descriptors:
                database.write_descriptors(image_id, _sift_descriptors(scene, view))
        for (a, b), rows in {**options.raw, **options.rows}.items():
            database.write_matches(ids[a], ids[b], rows)
        for (a, b), rows in options.rows.items():
            found = pycolmap.TwoViewGeometry()
            found.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
            found.inlier_matches = rows
            database.write_two_view_geometry(ids[a], ids[b], found)
    return path


def colmap_keypoints(scene: Scene, view: int, num_columns: int = 2) -> np.ndarray:
    """Key points of a view as COLMAP stores them: positions, and a shape that tells the rows apart."""
    positions = scene.features[view].keypoints_px
    shapes = 1.0 + np.arange(len(positions))[:, None] + np.zeros(num_columns - 2)
    return np.concatenate([positions, shapes], axis=1).astype(np.float32)


def _sift_descriptors(scene: Scene, view: int) -> pycolmap.FeatureDescriptors:
    rng = np.random.default_rng(view)
    data = rng.integers(1, 255, (len(scene.features[view].keypoints_px), 128), np.uint8)
    return pycolmap.FeatureDescriptors(type=pycolmap.FeatureExtractorType.SIFT, data=data)


def all_rows(scene: Scene, views: Collection[int]) -> dict[tuple[int, int], IndexArray]:
    """True matches between all pairs of some views."""
    ordered = sorted(views)
    return {(a, b): scene.true_rows(a, b) for k, a in enumerate(ordered) for b in ordered[k + 1 :]}


def true_model(path: Path, scene: Scene, names: Sequence[str], views: Collection[int]) -> pycolmap.Reconstruction:
    """The model that a perfect base stage makes of some views of a database: true poses, triangulated points."""
    view_of_name = {name: view for view, name in enumerate(names)}
    model = pycolmap.Reconstruction()
    with pycolmap.Database.open(path) as database:
        for stored in database.read_all_cameras():
            model.add_camera(stored)
        for rig in database.read_all_rigs():
            model.add_rig(rig)
        for image in database.read_all_images():
            view = view_of_name[image.name]
            frame = database.read_frame(image.frame_id)
            if view in views:
                frame.rig_from_world = geometry.to_rigid3d(scene.cam_from_world[view])
            model.add_frame(frame)
            positions = np.asarray(database.read_keypoints(image.image_id), np.float64)[:, :2]
            listed = pycolmap.Image(
                name=image.name, camera_id=image.camera_id, image_id=image.image_id, keypoints=positions
            )
            listed.frame_id = image.frame_id
            model.add_image(listed)
            if view in views:
                model.register_frame(image.frame_id)
    with TemporaryDirectory() as folder:
        return pycolmap.triangulate_points(model, path, folder, folder)
