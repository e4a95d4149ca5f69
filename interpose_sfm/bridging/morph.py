"""Bridging frames without a video model: both photos seen from cameras between them, by way of a plane.

View morphing (Seitz & Dyer, "View Morphing", SIGGRAPH 1996) renders views between two photos that are valid perspective
views, from correspondences. For the points of one plane no dense correspondence is needed: a homography b_from_a
decomposes into ``R + t n^T`` (Malis & Vargas, INRIA RR-6303, 2007), and a camera that moves on the straight line
between the photos while it turns at a constant rate sees that plane by ``R_s (I - s c n^T)``. This is their prewarp,
morph and postwarp in one step. Several homographies, found one after another in the putative matches, give several
clips; that of a pure rotation is among them where there is one.

What a frame may prove. A frame holds warped pixels of ONE photo: of A in the first half of the clip, of B in the
second. Seitz and Dyer blend both, and so would a cross-fade, but a blend puts the texture of A and of B at the same
place of the frame by construction: it matches A and it matches B, and the correspondences carried through it confirm
the homography it was built from, whether that was right or not. With one source per frame each link between A and B
still rests on real matches between a content of A and a content of B, only found at a smaller change of view. Even so a
morph can only help matching: it contains nothing that the two photos do not show, and the pose of a frame is the
hypothesis it was rendered from, not a measurement.
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.clips.protocol import GeneratorContext, VideoGenerator, no_clip
from interpose_sfm.products import (
    Clip,
    ClipRequest,
    ClipStatus,
    FloatArray,
    FrameMapping,
    GeneratorKind,
    ImageArray,
    ImagePair,
    Intrinsics,
)

logger = logging.getLogger(__name__)

# A scene is no plane: points within this share of the longer side count as support, so that facades with some relief
# pass.
_MAX_ERROR = 0.0075
# A homography that shrinks or grows area more than this between two photos of one place is an accident of RANSAC.
_MAX_AREA_CHANGE = 16.0


@dataclass(frozen=True)
class _PlanePath:
    """A camera on its way from A to B that looks at a plane.

    Attributes:
        b_from_a: (3, 3) rotation.
        center: (3,) centre of B in the frame of A, in units of the plane's distance from A.
        normal: (3,) unit normal of the plane in the frame of A.
    """

    b_from_a: FloatArray
    center: FloatArray
    normal: FloatArray

    def at(self, s: float) -> FloatArray:
        """(3, 3) homography, normalised coordinates, from A (s = 0) to the camera at s; s = 1 is B."""
        from scipy.spatial.transform import Rotation

        turned = Rotation.from_rotvec(s * Rotation.from_matrix(self.b_from_a).as_rotvec()).as_matrix()
        return np.asarray(turned @ (np.eye(3) - s * np.outer(self.center, self.normal)))


class MorphGenerator(VideoGenerator):
    """The embedded default generator: no weights, only putative matches. Clip k is the k-th homography by support."""

    name = "morph"
    kind = GeneratorKind.WARPED

    @classmethod
    def terms(cls, name: str) -> str:
        """See `Backend`."""
        return "warps the photos themselves by ALIKED (BSD-3-Clause) and LightGlue (Apache-2.0)"

    def __init__(self, context: GeneratorContext) -> None:
        self._context = context

    def num_clips(self, pair: ImagePair) -> int:
        """The number of hypotheses wanted; a clip beyond those that exist has status NO_CLIP."""
        return self._context.options.morph_hypotheses

    def generate(self, pair: ImagePair, request: ClipRequest) -> Clip:
        """Render the clip of hypothesis ``request.index``.

        Frames have the shape and the camera of A scaled to ``max_frame_px``; backwards, of B. Where the photo does not
        reach, a frame has the photo's mean colour. Hypotheses depend on the seed of the run alone, so that different
        indices are different clips whatever the seeds of the requests.

        Returns:
            The clip, or one with status NO_MATCHES (not even one homography) or NO_CLIP (fewer than index + 1).
        """
        names = self._context.photo_names
        if pair.a not in names or pair.b not in names:
            return no_clip(
                pair, self.name, f"morph-{request.index}", ClipStatus.NO_CLIP, "not photos of this collection"
            )
        points_in_a, points_in_b = self._putative(pair)
        cameras = self._context.intrinsics(pair.a), self._context.intrinsics(pair.b)
        homographies = self._homographies(pair, points_in_a, points_in_b)
        if request.index >= len(homographies):
            status = ClipStatus.NO_CLIP if homographies else ClipStatus.NO_MATCHES
            detail = (
                f"{len(points_in_a)} putative matches hold {len(homographies)} homographies with "
                f"{self._context.options.morph_min_matches} matches or more"
            )
            return no_clip(pair, self.name, f"morph-{request.index}", status, detail)
        b_from_a, support = homographies[request.index]
        path = _plane_path(b_from_a, cameras, points_in_a, points_in_b, support)
        return self._render(pair, request, path, cameras, int(support.sum()))

    def _putative(self, pair: ImagePair) -> tuple[FloatArray, FloatArray]:
        """(n, 2) positions of the putative matches as pinholes would see them, which homographies are about."""
        features_a, features_b, matches = self._context.features_and_matches(pair)
        rows = matches.indices.astype(np.intp)
        points_in_a, points_in_b = (
            _undistorted(features.keypoints_px[rows[:, side]], self._context.intrinsics(name))
            for side, (name, features) in enumerate(((pair.a, features_a), (pair.b, features_b)))
        )
        is_known = np.isfinite(points_in_a).all(axis=1) & np.isfinite(points_in_b).all(axis=1)
        return points_in_a[is_known], points_in_b[is_known]

    def _homographies(
        self, pair: ImagePair, points_in_a: FloatArray, points_in_b: FloatArray
    ) -> list[tuple[FloatArray, FloatArray]]:
        """(b_from_a in undistorted pixels, support mask) by sequential RANSAC, best supported first."""
        import pycolmap

        options = self._context.options
        camera_b = self._context.intrinsics(pair.b)
        ransac = pycolmap.RANSACOptions(
            max_error=_MAX_ERROR * max(camera_b.width_px, camera_b.height_px),
            random_seed=zlib.crc32(f"{self._context.seed} {pair.a} {pair.b}".encode()) & 0x7FFFFFFF,
        )
        homographies: list[tuple[FloatArray, FloatArray]] = []
        left = np.arange(len(points_in_a))
        # Implausible ones are taken out as well, hence a few more rounds than hypotheses.
        for _ in range(2 * options.morph_hypotheses):
            if len(left) < options.morph_min_matches or len(homographies) == options.morph_hypotheses:
                break
            fit = pycolmap.estimate_homography_matrix(points_in_a[left], points_in_b[left], ransac)
            if fit is None or int(np.sum(fit["inlier_mask"])) < options.morph_min_matches:
                break
            support = np.zeros(len(points_in_a), bool)
            support[left[np.asarray(fit["inlier_mask"])]] = True
            left = left[~np.asarray(fit["inlier_mask"])]
            b_from_a = np.asarray(fit["H"], np.float64)
            if _is_plausible(b_from_a, points_in_a[support]):
                homographies.append((b_from_a, support))
        homographies.sort(key=lambda item: -int(item[1].sum()))
        return homographies

    def _render(
        self,
        pair: ImagePair,
        request: ClipRequest,
        path: _PlanePath,
        cameras: tuple[Intrinsics, Intrinsics],
        num_support: int,
    ) -> Clip:
        count = self._context.options.morph_frames
        photos = [self._small(name) for name in (pair.a, pair.b)]
        base = 1 if request.backwards else 0
        height, width = photos[base].shape[:2]
        base_camera = cameras[base]
        scale_xy = np.array([width / base_camera.width_px, height / base_camera.height_px])
        frame_matrix = np.diag([*scale_xy, 1.0]) @ _matrix(base_camera)
        frames = []
        for s in (np.arange(count) + 1.0) / (count + 1.0):
            # The middle frame of an odd count comes from the photo that the clip starts from.
            source = 0 if s < 0.5 or (s == 0.5 and base == 0) else 1
            view_from_source = path.at(float(s)) if source == 0 else path.at(float(s)) @ np.linalg.inv(path.at(1.0))
            frames.append(_warp(photos[source], cameras[source], view_from_source, base_camera, (width, height)))
        mappings = [_camera_mapping(camera, frame_matrix) for camera in cameras]
        name = f"morph-{request.index}" + ("-ba" if request.backwards else "")
        detail = f"homography with {num_support} supporting matches"
        return Clip(pair, name, self.name, tuple(frames), mappings[0], mappings[1], ClipStatus.OK, detail)

    def _small(self, name: str) -> ImageArray:
        import cv2

        image = self._context.load_image(name)
        factor = self._context.options.max_frame_px / max(image.shape[:2])
        if factor >= 1.0:
            return image
        size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _matrix(camera: Intrinsics) -> FloatArray:
    """Of the pinhole with the focal length and the centre of a camera."""
    return np.array([[camera.focal_px, 0, camera.cx_px], [0, camera.focal_px, camera.cy_px], [0, 0, 1.0]])


def _undistorted(points_px: FloatArray, camera: Intrinsics) -> FloatArray:
    """(n, 2) where the pinhole of `_matrix` sees what a camera sees at these positions; NaN where it sees nothing."""
    center_px = np.array([camera.cx_px, camera.cy_px])
    return np.asarray(camera.focal_px * geometry.pixel_to_ray(points_px, camera)[:, :2] + center_px)


def _camera_mapping(camera: Intrinsics, frame_matrix: FloatArray) -> FrameMapping:
    """The mapping under which a photo's camera becomes the camera of the frames."""
    x_scale, y_scale = frame_matrix[0, 0] / camera.focal_px, frame_matrix[1, 1] / camera.focal_px
    x_offset, y_offset = frame_matrix[0, 2] - x_scale * camera.cx_px, frame_matrix[1, 2] - y_scale * camera.cy_px
    return FrameMapping((float(x_scale), float(y_scale)), (float(x_offset), float(y_offset)))


def _is_plausible(b_from_a: FloatArray, points_in_a: FloatArray) -> bool:
    """True if the homography keeps orientation and roughly the area at its support, on one side of its horizon."""
    depth = np.column_stack([points_in_a, np.ones(len(points_in_a))]) @ b_from_a[2]
    # Area change of a homography at x: det(H) / (h3 . x)^3. Its sign is that of the orientation.
    with np.errstate(divide="ignore"):
        change = np.linalg.det(b_from_a) / depth**3
    one_side = bool((depth > 0).all() or (depth < 0).all())
    return one_side and bool((change > 1 / _MAX_AREA_CHANGE).all() and (change < _MAX_AREA_CHANGE).all())


def _plane_path(
    b_from_a: FloatArray,
    cameras: tuple[Intrinsics, Intrinsics],
    points_in_a: FloatArray,
    points_in_b: FloatArray,
    support: FloatArray,
) -> _PlanePath:
    """The camera path of a homography.

    Two of the four decompositions have the plane in front of both cameras. Each implies epipolar lines; the one whose
    lines agree with more of all putative matches is taken, then the one with the smaller rotation.
    """
    import cv2

    matrix_a, matrix_b = _matrix(cameras[0]), _matrix(cameras[1])
    x_in_a, x_in_b = _rays(points_in_a, matrix_a), _rays(points_in_b, matrix_b)
    normalised = np.linalg.inv(matrix_b) @ b_from_a @ matrix_a
    if float(np.sum(np.sum((x_in_a[support] @ normalised.T) * x_in_b[support], axis=1) > 0)) < support.sum() / 2:
        normalised = -normalised
    normalised /= np.linalg.svd(normalised, compute_uv=False)[1]
    _, rotations, translations, normals = cv2.decomposeHomographyMat(normalised, np.eye(3))
    limit = _MAX_ERROR * max(cameras[1].width_px, cameras[1].height_px) / cameras[1].focal_px
    ranked = []
    for rotation, translation, normal in zip(rotations, translations, normals, strict=True):
        r, t = np.asarray(rotation, np.float64), np.asarray(translation, np.float64).ravel()
        path = _PlanePath(r, -r.T @ t, np.asarray(normal, np.float64).ravel())
        in_front = float(np.mean(x_in_a[support] @ path.normal > 0))
        turn = float(np.degrees(np.arccos(np.clip((np.trace(r) - 1) / 2, -1, 1))))
        epipolar = int(np.sum(_epipolar_distance(r, t, x_in_a, x_in_b) < limit))
        ranked.append(((in_front > 0.5 or np.linalg.norm(t) < 1e-6, epipolar, -turn), path))
    return max(ranked, key=lambda item: item[0])[1]


def _rays(points_px: FloatArray, matrix: FloatArray) -> FloatArray:
    return np.asarray(np.column_stack([points_px, np.ones(len(points_px))]) @ np.linalg.inv(matrix).T)


def _epipolar_distance(
    rotation: FloatArray, translation: FloatArray, x_in_a: FloatArray, x_in_b: FloatArray
) -> FloatArray:
    """Distance of the points in B from their epipolar lines, normalised coordinates; zero for a pure rotation."""
    x, y, z = translation
    lines = x_in_a @ (np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation).T
    norm = np.maximum(np.hypot(lines[:, 0], lines[:, 1]), 1e-12)
    return np.asarray(np.abs(np.sum(lines * x_in_b, axis=1)) / norm)


def _warp(
    image: ImageArray,
    camera: Intrinsics,
    view_from_camera: FloatArray,
    view_camera: Intrinsics,
    size_px: tuple[int, int],
) -> ImageArray:
    """The image seen through a homography of rays; what lies behind the camera or outside gets the mean colour.

    Args:
        image: A picture of `camera`, of any size.
        view_from_camera: (3, 3).
        view_camera: Of the view, of which the result is a picture of this size.
        size_px: (width, height).
    """
    import cv2

    width, height = size_px
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    positions_px = np.stack([x * view_camera.width_px / width, y * view_camera.height_px / height], axis=-1)
    rays = geometry.pixel_to_ray(positions_px, view_camera) @ np.linalg.inv(view_from_camera).T
    # In front of both cameras the third coordinate keeps the sign that it has where the image's middle lands.
    rays *= np.sign(view_from_camera[2, 2]) or 1.0
    scale = np.array([image.shape[1] / camera.width_px, image.shape[0] / camera.height_px])
    # cv2 counts from pixel centres; positions far outside select the border colour.
    seen_px = geometry.project(rays, camera) * scale - 0.5
    x_cv, y_cv = np.moveaxis(np.nan_to_num(seen_px, nan=-1e4).clip(-1e4, 1e4).astype(np.float32), -1, 0)
    fill = tuple(float(v) for v in image.reshape(-1, 3).mean(axis=0))
    warped = cv2.remap(image, x_cv, y_cv, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
    return np.asarray(warped, np.uint8)
