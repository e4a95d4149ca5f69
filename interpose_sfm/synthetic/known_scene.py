"""A network of known geometry: it stands where Depth Anything 3's stands and answers with what is rendered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.pose.pictures import cut_alike
from interpose_sfm.pose.scenes import SceneGuess, Told, central_camera
from interpose_sfm.products import ImageArray, Intrinsics, Pose
from interpose_sfm.synthetic.known_views import FAR_M, KnownViews, seed_of
from interpose_sfm.synthetic.scene import Scene


@dataclass(frozen=True, kw_only=True)
class SceneErrors:
    """How the answers differ from the truth. The same pictures have the same errors whenever they are asked for.

    Attributes:
        depth_sigma: Relative standard deviation of the depths, normal and independent per pixel.
        turn_deg: By how much every view but the first is turned, about an axis of its own.
        confidence: Of all that is no sky; it varies by a fifth.
        seed: Of the errors.
    """

    depth_sigma: float = 0.0
    turn_deg: float = 0.0
    confidence: float = 8.0
    seed: int = 0


class KnownSceneNetwork:
    """Satisfies `interpose_sfm.pose.scenes.SceneNetwork`, for pictures of one shape.

    Args:
        scene: What the views show.
        errors: Of the answers.
        size_px: Longer side of the crops.

    Attributes:
        num_passes: Forward passes so far.
    """

    def __init__(self, scene: Scene, errors: SceneErrors | None = None, size_px: int = 504) -> None:
        self._errors = errors or SceneErrors()
        self._known = KnownViews(scene, lambda image: cut_alike([image], size_px)[0])
        self.identity = f"known geometry {self._errors}"
        self.num_passes = 0

    def add_view(self, image: ImageArray, intrinsics: Intrinsics, cam_from_world: Pose) -> None:
        """See `KnownViews.add`."""
        self._known.add(image, intrinsics, cam_from_world)

    def guess(self, images: Sequence[ImageArray], told: Sequence[Told] = ()) -> SceneGuess:
        """Depths and cameras of known views, in a scale in which the first one's mean depth is one.

        Args:
            images: The pictures.
            told: What is said to be known of them, which changes nothing.
        """
        self.num_passes += 1
        numbers = [self._known.recognise(image) for image in images]
        views, errors = [self._known[number] for number in numbers], self._errors
        generator = np.random.default_rng(seed_of(errors.seed, *numbers))
        scale = 1.0 / float(np.mean(views[0].depths))
        depths = np.stack([view.depths for view in views])
        noise = 1.0 + errors.depth_sigma * generator.standard_normal(depths.shape)
        confidences = errors.confidence * (1.0 + 0.2 * generator.uniform(-1.0, 1.0, depths.shape))
        poses = [Pose(np.eye(3), np.zeros(3))]
        for view in views[1:]:
            pose = geometry.relative_pose(view.cam_from_world, views[0].cam_from_world)
            axis = generator.standard_normal(3)
            turn = geometry.rotation_exp(np.radians(errors.turn_deg) * axis / np.linalg.norm(axis))
            poses.append(Pose(turn @ pose.rotation, scale * (turn @ pose.translation)))
        return SceneGuess(
            (scale * depths * np.maximum(noise, 0.05)).astype(np.float32),
            np.where(depths > 0.7 * FAR_M, 1.0, confidences).astype(np.float32),
            tuple(poses),
            tuple(central_camera(view.intrinsics.focal_px, view.depths.shape) for view in views),
        )
