"""Focal lengths from the clips between two photos: found where the frames settle them, left alone where not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from geometry_scenes import Scene, arc, cloud, observe, undescribed
from interpose_sfm.pose.clip_calibration import MAX_RATIO, MIN_HALF, focal_scale
from interpose_sfm.pose.protocol import EstimatorContext
from interpose_sfm.products import Features, Matches, View
from interpose_sfm.synthetic.cameras import look_at

NO_IMAGE = np.zeros((2, 2, 3), np.uint8)
NOTHING = Matches(np.zeros((0, 2), np.uint32), np.zeros(0, np.float32))
TURN_DEG = (0, 7, 14, 21, 28, 35, 42, 49, 56)


class Film:
    """Clips of a scene whose frames state a focal length that is off by a factor."""

    def __init__(self, scenes: Sequence[Scene], factors: Sequence[float], reach: int = 2) -> None:
        self.scenes, self.factors, self.reach = scenes, factors, reach
        self.num_connected = 99

    @property
    def clips(self) -> list[list[View]]:
        return [
            [
                View(f"{number}/{frame}", NO_IMAGE, replace(camera, focal_px=factor * camera.focal_px))
                for frame, camera in enumerate(scene.intrinsics)
            ]
            for number, (scene, factor) in enumerate(zip(self.scenes, self.factors, strict=True))
        ]

    @property
    def context(self) -> EstimatorContext:
        def place(view: View) -> tuple[Scene, int]:
            number, frame = map(int, view.key.split("/"))
            return self.scenes[number], frame

        def features(view: View) -> Features:
            scene, frame = place(view)
            return undescribed(scene.features[frame])

        def matches(a: View, b: View) -> Matches:
            scene, i = place(a)
            j = place(b)[1]
            is_near = abs(i - j) <= self.reach and max(i, j) < self.num_connected
            return scene.matches(i, j, seed=i + j) if is_near else NOTHING

        return EstimatorContext(features=features, matches=matches, seed=0)

    @property
    def photos(self) -> tuple[View, View]:
        """Beside clips of many frames, which are calibrated without them, the ends of the first."""
        return self.clips[0][0], self.clips[0][-1]

    def scale(self) -> float | None:
        return focal_scale(self.clips, self.photos, self.context)

    def scale_of_frames_between(self) -> float | None:
        """The first and the last view of the only clip are photos."""
        (views,) = self.clips
        return focal_scale([views[1:-1]], self.photos, self.context)


def shot(seed: int = 1, azimuths_deg: Sequence[float] = TURN_DEG) -> Scene:
    return observe(cloud(seed, 250), arc(azimuths_deg), noise_px=0.5, seed=seed)


@pytest.mark.parametrize("factor", [0.65, 0.8, 1.0, 1.25, 1.5])
def test_a_wrong_focal_length_is_put_right(factor: float) -> None:
    scale = Film([shot()], [factor]).scale()
    assert scale is not None
    assert scale * factor == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(("zoom", "is_told"), [(1.0, True), (1.02, True), (1.2, False), (1.4, False)])
def test_a_clip_that_zooms_says_nothing_by_itself(zoom: float, is_told: bool) -> None:
    still = shot()
    zooms = np.linspace(1.0, zoom, len(TURN_DEG))
    middle_px = np.array(still.features[0].size_px) / 2
    zoomed = [
        replace(seen, keypoints_px=middle_px + share * (seen.keypoints_px - middle_px))
        for seen, share in zip(still.features, zooms, strict=True)
    ]
    assert (Film([replace(still, features=tuple(zoomed))], [1.0]).scale() is not None) is is_told


@pytest.mark.parametrize(
    ("zooms", "is_told"), [((1.0,), True), ((1.3,), False), ((1.0, 1.0), True), ((1.2, 1.2), False)]
)
def test_few_frames_share_the_camera_of_the_photos_or_say_nothing(zooms: Sequence[float], is_told: bool) -> None:
    """The halves of two frames that zoom have a photo each, and so agree."""
    scene = shot(azimuths_deg=np.linspace(0, 45, len(zooms) + 2).tolist())
    middle_px = np.array(scene.features[0].size_px) / 2
    seen = [
        replace(seen, keypoints_px=middle_px + zoom * (seen.keypoints_px - middle_px))
        for seen, zoom in zip(scene.features, (1.0, *zooms, 1.0), strict=True)
    ]
    film = Film([replace(scene, features=tuple(seen))], [1.2], reach=3)
    assert (film.scale_of_frames_between() is not None) is is_told


@pytest.mark.parametrize("factor", [0.65, 1.0, 1.5])
def test_views_of_several_sizes_share_a_camera(factor: float) -> None:
    """Two photos and the one frame between them, which is smaller and cut out of their middle."""
    scene = shot(azimuths_deg=(0, 20, 40))
    large = [camera.scaled((1600, 1200), (2.0, 2.1), (31.0, -17.0)) for camera in scene.intrinsics]
    ends = [
        replace(seen, keypoints_px=seen.keypoints_px * (2.0, 2.1) + (31.0, -17.0), size_px=(1600, 1200))
        for seen in scene.features
    ]
    features = (ends[0], scene.features[1], ends[2])
    cameras = (large[0], scene.intrinsics[1], large[2])
    film = Film([replace(scene, features=features, intrinsics=cameras)], [factor])
    scale = film.scale_of_frames_between()
    assert scale is not None
    assert scale * factor == pytest.approx(1.0, abs=0.03)


def test_most_clips_win_over_one_that_errs() -> None:
    """Every clip is off by a factor of its own; where only one differs it is left out."""
    scale = Film([shot(1), shot(2), shot(3)], [1.3, 1.3, 0.8]).scale()
    assert scale is not None
    assert scale * 1.3 == pytest.approx(1.0, abs=0.03)


def test_no_clip_is_asked_once_most_agree() -> None:
    """Neither before: two of four are no more than half of them."""
    film = Film([shot(seed) for seed in (1, 2, 3, 4)], [1.3, 1.3, 1.3, 0.8])
    asked = set()

    def features(view: View) -> Features:
        asked.add(view.key.split("/")[0])
        return film.context.features(view)

    scale = focal_scale(film.clips, film.photos, replace(film.context, features=features))
    assert scale is not None
    assert scale * 1.3 == pytest.approx(1.0, abs=0.03)
    assert asked == {"0", "1", "2"}


@pytest.mark.parametrize(("zoom", "is_told"), [(1.0, True), (1.3, False)])
def test_a_clip_whose_frames_put_it_in_two_places_says_nothing(zoom: float, is_told: bool) -> None:
    """Every other frame has a focal length of its own: no camera is that of all frames, nor do two ways agree."""
    scene = shot(3, azimuths_deg=np.linspace(0, 50, 2 * MIN_HALF).tolist())
    middle_px = np.array(scene.features[0].size_px) / 2
    seen = [
        replace(seen, keypoints_px=middle_px + (zoom if number % 2 else 1.0) * (seen.keypoints_px - middle_px))
        for number, seen in enumerate(scene.features)
    ]
    film = Film([replace(scene, features=tuple(seen))] * 2, [1.2, 1.2], reach=4)
    assert (film.scale() is not None) is is_told


def test_clips_that_contradict_one_another_say_nothing() -> None:
    assert MAX_RATIO**2 < 1.35
    assert Film([shot(1), shot(2)], [1.35, 0.8]).scale() is None


def test_no_clip_and_too_few_frames_say_nothing() -> None:
    film = Film([shot(azimuths_deg=(0, 20))], [1.2])
    assert focal_scale([], film.photos, film.context) is None
    assert film.scale_of_frames_between() is None


def test_frames_that_do_not_connect_say_nothing() -> None:
    assert Film([shot()], [1.2], reach=0).scale() is None


@pytest.mark.parametrize(("num_connected", "is_told"), [(5, False), (8, True)])
def test_a_model_of_a_few_frames_says_nothing(num_connected: int, is_told: bool) -> None:
    film = Film([shot()], [1.2])
    film.num_connected = num_connected
    assert (film.scale() is not None) is is_told


@pytest.mark.parametrize(("turn_deg", "is_told"), [(3, False), (16, True)])
def test_a_camera_that_hardly_turns_says_nothing(turn_deg: float, is_told: bool) -> None:
    """Focal length and depth cannot be told apart then."""
    angles = np.radians(np.linspace(0, turn_deg, 9))
    level = [look_at((7 * np.sin(angle), -7 * np.cos(angle), 0.6), (0, 0, 0)) for angle in angles]
    scale = Film([observe(cloud(1, 250), level, noise_px=0.5, seed=1)], [1.2]).scale()
    assert (scale is not None) is is_told
