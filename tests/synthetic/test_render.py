from __future__ import annotations

import numpy as np
import pytest

from interpose_sfm import geometry
from interpose_sfm.products import Intrinsics
from interpose_sfm.synthetic import (
    Rectangle,
    Rendering,
    RenderOptions,
    Scene,
    Viewpoint,
    center_in_world,
    look_at,
    make_texture,
    render,
)
from rendered import DENSITY, in_camera, pixel_grid, read_at

CAMERA = Intrinsics(240, 180, 200.0, 118.5, 92.25)


# ---------------------------------------------------------------- geometry


def one_wall() -> Scene:
    """The plane y = 5, x in [-3, 4], z in [-2, 3]."""
    texture = make_texture(np.random.default_rng(0), (7.0, 5.0), 20.0)
    axes = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, -1.0])
    return Scene((Rectangle("wall", np.array([-3.0, 5.0, 3.0]), *axes, (7.0, 5.0), texture),))


def test_depth_of_a_tilted_wall_is_analytic() -> None:
    cam_from_world = look_at((0.5, -1.0, 0.3), (0.1, 5.0, 0.6))
    view = render(one_wall(), CAMERA, cam_from_world)
    directions_in_cam = np.dstack([(pixel_grid(CAMERA) - [118.5, 92.25]) / 200.0, np.ones((180, 240))])
    directions = directions_in_cam @ cam_from_world.rotation
    expected = (5.0 - -1.0) / directions[..., 1]
    hit = np.array([0.5, -1.0, 0.3]) + expected[..., None] * directions
    is_inside = (hit[..., 0] > -3) & (hit[..., 0] < 4) & (hit[..., 2] > -2) & (hit[..., 2] < 3)
    assert 0.5 < is_inside.mean() < 1.0
    assert np.array_equal(np.isfinite(view.depth), is_inside)
    assert np.all(view.depth[~is_inside] == np.inf)
    assert np.all(np.isnan(view.points_in_world[~is_inside]))
    assert np.abs(view.depth - expected)[is_inside].max() < 1e-9
    assert np.ptp(view.depth[is_inside]) > 0.1


@pytest.mark.parametrize("radial", [0.0, -0.12, 0.1])
def test_points_reproject_to_their_pixels(courtyard: Scene, radial: float) -> None:
    camera = Intrinsics(240, 180, 190.0, 121.0, 88.5, (radial,))
    cam_from_world = Viewpoint(30.0, 9.0, 1.7, (0.0, 0.0, 2.0)).cam_from_world
    view = render(courtyard, camera, cam_from_world, RenderOptions(supersampling=1))
    is_hit = np.isfinite(view.depth)
    assert 0.6 < is_hit.mean() < 1.0
    points = in_camera(view.points_in_world[is_hit], cam_from_world)
    assert np.abs(points[:, 2] - view.depth[is_hit]).max() < 1e-9
    assert np.abs(geometry.project(points, camera) - pixel_grid(camera)[is_hit]).max() < 1e-6


def test_points_lie_on_the_surfaces_and_the_nearest_one_wins(courtyard: Scene) -> None:
    cam_from_world = Viewpoint(30.0, 9.0, 1.7, (0.0, 0.0, 2.0)).cam_from_world
    view = render(courtyard, CAMERA, cam_from_world, RenderOptions(supersampling=1))
    points = view.points_in_world[np.isfinite(view.depth)][::7]
    on_any = np.zeros(len(points), bool)
    center = center_in_world(cam_from_world)
    for surface in courtyard.surfaces:
        offset = points - surface.corner_in_world
        normal = np.cross(surface.y_axis, surface.x_axis)
        u, v = offset @ surface.x_axis, offset @ surface.y_axis
        is_inside = (u > -1e-9) & (u < surface.size_m[0] + 1e-9) & (v > -1e-9) & (v < surface.size_m[1] + 1e-9)
        on_any |= is_inside & (np.abs(offset @ normal) < 1e-9)
        # No surface may cut the ray between the camera and the point that was reported.
        steps = points - center
        with np.errstate(divide="ignore", invalid="ignore"):
            share = ((surface.corner_in_world - center) @ normal) / (steps @ normal)
            cut = center + share[:, None] * steps - surface.corner_in_world
        u, v = cut @ surface.x_axis, cut @ surface.y_axis
        is_cut = (share > 1e-6) & (share < 1 - 1e-6) & (u > 0) & (v > 0)
        assert not np.any(is_cut & (u < surface.size_m[0]) & (v < surface.size_m[1])), surface.name
    assert np.all(on_any)


def test_the_same_point_has_the_same_colour_in_two_views(courtyard: Scene) -> None:
    camera = Intrinsics(320, 240, 260.0, 160.0, 120.0)
    poses = [Viewpoint(azimuth, 9.0, 1.7, (0.0, 0.0, 2.2)).cam_from_world for azimuth in (35.0, 47.0)]
    views = [render(courtyard, camera, pose) for pose in poses]
    is_hit = np.isfinite(views[0].depth)
    in_second = in_camera(views[0].points_in_world[is_hit], poses[1])
    positions = geometry.project(in_second, camera)
    is_inside = np.all((positions > 1) & (positions < [319, 239]), axis=1) & (in_second[:, 2] > 0)
    positions, depths = positions[is_inside], in_second[is_inside, 2]
    column, row = np.floor(positions).astype(int).T
    is_visible = np.abs(views[1].depth[row, column] / depths - 1.0) < 0.02
    assert is_visible.sum() > 20000
    first = views[0].image[is_hit][is_inside][is_visible].astype(np.float64)
    second = read_at(views[1].image, positions[is_visible])
    shifted = read_at(views[1].image, np.clip(positions[is_visible] + [4.0, 0.0], 1, [318, 238]))
    assert np.median(np.abs(first - second)) < 6.0
    # The picture has so much detail that four pixels beside the place give another colour.
    assert np.median(np.abs(first - shifted)) > 2.0 * np.median(np.abs(first - second))
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.9


def test_a_small_image_is_the_large_one_seen_coarsely() -> None:
    pose = Viewpoint(40.0, 9.0, 1.7, (0.0, 0.0, 2.0)).cam_from_world
    fine = render(Scene.courtyard(1, texels_per_m=40.0), Intrinsics(320, 240, 260.0, 160.0, 120.0), pose).image
    coarse = render(Scene.courtyard(1, texels_per_m=20.0), Intrinsics(160, 120, 130.0, 80.0, 60.0), pose).image
    halved = fine.reshape(120, 2, 160, 2, 3).mean(axis=(1, 3))
    assert np.corrcoef(halved.ravel(), coarse.ravel().astype(float))[0, 1] > 0.93
    assert abs(halved.mean() - coarse.mean()) < 2.0


def test_surfaces_behind_the_camera_are_not_seen() -> None:
    view = render(one_wall(), CAMERA, look_at((0.5, -1.0, 0.3), (0.5, -5.0, 0.3)))
    assert np.all(view.depth == np.inf)
    assert view.image.std(axis=(0, 1)).max() < 15.0


def test_the_ground_under_the_camera_is_seen(courtyard: Scene) -> None:
    cam_from_world = look_at((3.0, -6.0, 2.0), (3.0, -5.5, 0.0))
    view = render(courtyard, CAMERA, cam_from_world, RenderOptions(supersampling=1))
    assert np.all(np.isfinite(view.depth))
    assert np.abs(view.points_in_world[..., 2]).max() < 1e-9


# ---------------------------------------------------------------- pictures


def test_equal_seeds_give_equal_pixels_and_other_seeds_do_not(courtyard: Scene) -> None:
    pose = Viewpoint(20.0, 9.0, 1.7, (0.0, 0.0, 2.0)).cam_from_world

    def picture(scene: Scene, seed: int) -> Rendering:
        return render(scene, CAMERA, pose, RenderOptions(supersampling=1, noise_sigma=2.0, seed=seed))

    reference = picture(courtyard, 5)
    assert np.array_equal(picture(Scene.courtyard(0, texels_per_m=DENSITY), 5).image, reference.image)
    noisy = picture(courtyard, 6).image.astype(float) - reference.image
    assert 2.0 < noisy.std() < 3.5
    other = picture(Scene.courtyard(1, texels_per_m=DENSITY), 5).image.astype(float) - reference.image
    assert other.std() > 20.0


def test_exposure_brightens(courtyard: Scene) -> None:
    pose = Viewpoint(20.0, 9.0, 1.7, (0.0, 0.0, 2.0)).cam_from_world
    means = [render(courtyard, CAMERA, pose, RenderOptions(exposure=factor)).image.mean() for factor in (0.8, 1.0)]
    assert 0.78 < means[0] / means[1] < 0.82
