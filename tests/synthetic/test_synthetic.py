"""The renderer against analytic geometry, the scenes against what they promise, and the collection on disk."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from interpose_sfm import geometry
from interpose_sfm.products import FloatArray, Intrinsics, Pose
from interpose_sfm.synthetic import (
    Rectangle,
    Rendering,
    RenderOptions,
    SampleOptions,
    SampleTruth,
    Scene,
    Viewpoint,
    auc,
    center_in_world,
    interpolate,
    look_at,
    make_texture,
    orbit,
    plan_sample,
    pose_errors_deg,
    read_sample,
    render,
    write_clip,
    write_sample,
)

CAMERA = Intrinsics(240, 180, 200.0, 118.5, 92.25)
DENSITY = 30.0
SMALL = SampleOptions(seed=3, width_px=160, photos_per_group=3, num_frames=5, supersampling=1)


def rotation_about(axis: int, angle_deg: float) -> FloatArray:
    a, b = [i for i in range(3) if i != axis]
    rotation = np.eye(3)
    angle = np.radians(angle_deg)
    rotation[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return rotation


def pixel_grid(camera: Intrinsics) -> FloatArray:
    return np.stack(np.meshgrid(np.arange(camera.width_px) + 0.5, np.arange(camera.height_px) + 0.5), axis=-1)


def in_camera(points_in_world: FloatArray, cam_from_world: Pose) -> FloatArray:
    return points_in_world @ cam_from_world.rotation.T + cam_from_world.translation


def read_at(image: np.ndarray, positions_px: FloatArray) -> FloatArray:
    """Bilinear colours at (n, 2) positions."""
    x, y = (positions_px - 0.5).T
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    right, down = (x - column)[:, None], (y - row)[:, None]
    pixels = image.astype(np.float64)
    upper = pixels[row, column] * (1 - right) + pixels[row, column + 1] * right
    lower = pixels[row + 1, column] * (1 - right) + pixels[row + 1, column + 1] * right
    return upper * (1 - down) + lower * down


@pytest.fixture(scope="module")
def courtyard() -> Scene:
    return Scene.courtyard(0, texels_per_m=DENSITY)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleTruth:
    return write_sample(tmp_path_factory.mktemp("sample") / "collection", SMALL)


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
    camera = Intrinsics(240, 180, 190.0, 121.0, 88.5, radial)
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


def test_a_large_footprint_reads_the_mean_of_its_surroundings() -> None:
    texture = make_texture(np.random.default_rng(1), (6.4, 6.4), 40.0)
    finest = texture.levels[0].astype(np.float64)
    x, y = np.array([1.2, 2.0, 3.6, 5.2]), np.array([1.2, 4.4, 2.8, 2.0])  # centres of texels of 0.8 m and half of it
    at_point = texture.sample(x, y, np.full(4, 0.02))
    around = texture.sample(x, y, np.full(4, 0.8))
    for index, (column, row) in enumerate(zip((x * 40).astype(int), (y * 40).astype(int), strict=True)):
        block = finest[row - 16 : row + 16, column - 16 : column + 16]
        assert np.abs(around[index] - block.mean(axis=(0, 1))).max() < 3.0
        corner = finest[row - 1 : row + 1, column - 1 : column + 1]
        assert np.abs(at_point[index] - corner.mean(axis=(0, 1))).max() < 0.01
    assert np.abs(at_point - around).max() > 10.0


def test_textures_do_not_repeat() -> None:
    texture = make_texture(np.random.default_rng(1), (8.0, 6.0), 20.0).levels[0].mean(axis=-1)
    spectrum = np.abs(np.fft.fft2(texture - texture.mean())) ** 2
    correlation = np.fft.ifft2(spectrum).real / spectrum.mean()
    correlation[:20, :20] = correlation[-20:, :20] = correlation[:20, -20:] = correlation[-20:, -20:] = 0.0
    assert correlation.max() < 0.35
    assert texture.std() > 15.0


# ---------------------------------------------------------------- camera paths


def test_look_at_puts_the_target_in_the_middle_and_up_on_top() -> None:
    pose = look_at((2.0, -7.0, 1.5), (0.5, 1.0, 3.0))
    assert np.allclose(pose.rotation @ pose.rotation.T, np.eye(3))
    assert np.linalg.det(pose.rotation) > 0.999
    assert np.allclose(center_in_world(pose), (2.0, -7.0, 1.5))
    target = in_camera(np.array([0.5, 1.0, 3.0]), pose)
    assert np.allclose(target[:2], 0.0)
    assert target[2] > 0
    above = in_camera(np.array([0.5, 1.0, 3.1]), pose)
    assert above[1] < 0
    assert abs(above[0]) < 1e-12
    with pytest.raises(ValueError, match="parallel"):
        look_at((0, 0, 0), (0, 0, 3))
    with pytest.raises(ValueError, match="must differ"):
        look_at((1, 2, 3), (1, 2, 3))


@pytest.mark.parametrize("angle_deg", [1e-7, 3.0, 90.0, 179.0, 180.0])
def test_interpolation_goes_the_way_evenly(angle_deg: float) -> None:
    first = Pose(rotation_about(1, 20.0), np.array([1.0, 2.0, 3.0]))
    last = Pose(rotation_about(2, angle_deg) @ first.rotation, np.array([-2.0, 0.5, 1.0]))
    assert interpolate(first, last, 0.0) is first
    assert interpolate(first, last, 1.0) is last
    way = [interpolate(first, last, fraction) for fraction in np.linspace(0.0, 1.0, 5)]
    centers = np.array([center_in_world(pose) for pose in way])
    assert np.allclose(np.diff(centers, axis=0), (centers[-1] - centers[0]) / 4)
    turns = [b.rotation @ a.rotation.T for a, b in pairwise(way)]
    for turn in turns:
        assert np.abs(np.abs(turn) - np.abs(rotation_about(2, angle_deg / 4))).max() < 1e-7
        assert np.allclose(turn, turns[0], atol=1e-7)


def test_an_orbit_keeps_distance_and_ends_where_it_should() -> None:
    first, last = (Viewpoint(azimuth, 8.0, 1.6, (0.0, 0.0, 1.0)) for azimuth in (0.0, 90.0))
    poses = orbit(first, last, 7)
    centers = np.array([center_in_world(pose) for pose in poses])
    assert np.allclose(centers[0], (0.0, -8.0, 1.6))
    assert np.allclose(centers[-1], (8.0, 0.0, 1.6))
    assert np.allclose(np.hypot(centers[:, 0], centers[:, 1]), 8.0)
    with pytest.raises(ValueError, match="at least 2"):
        orbit(first, last, 1)


# ---------------------------------------------------------------- scores


def test_pose_errors_ignore_frame_and_scale_and_see_everything_else() -> None:
    truth = dict(zip("abcd", orbit(Viewpoint(0, 9, 1, (0, 0, 1)), Viewpoint(60, 9, 2, (0, 0, 1)), 4), strict=True))
    world_from_other = Pose(rotation_about(0, 33.0), np.array([3.0, -1.0, 2.0]))
    moved = {name: pose @ world_from_other for name, pose in truth.items()}
    scaled = {name: Pose(pose.rotation, 2.5 * pose.translation) for name, pose in moved.items()}
    assert pose_errors_deg(truth, scaled).shape == (6,)
    assert pose_errors_deg(truth, scaled).max() < 1e-6
    turned = scaled | {"b": Pose(rotation_about(2, 7.0), np.zeros(3)) @ scaled["b"]}
    errors = pose_errors_deg(truth, turned)  # pairs ab ac ad bc bd cd
    assert np.abs(errors[[0, 3, 4]] - 7.0).max() < 1e-6
    assert errors[[1, 2, 5]].max() < 1e-6
    flipped = {name: Pose(pose.rotation, -pose.translation) for name, pose in scaled.items()}
    assert pose_errors_deg(truth, flipped).max() > 100.0
    del scaled["c"]
    assert np.array_equal(pose_errors_deg(truth, scaled | {"other": truth["a"]}) == 180.0, [0, 1, 0, 1, 0, 1])


def test_auc_of_simple_curves() -> None:
    assert auc([0.0, 0.0], 5.0) == pytest.approx(100.0)
    assert auc([180.0, 5.0], 5.0) == 0.0
    # Recall rises evenly to 1 at one degree and stays.
    assert auc([1.0], 5.0) == pytest.approx(100.0 * (0.5 + 4.0) / 5.0)
    assert auc([1.0, 180.0], 5.0) == pytest.approx(100.0 * (0.25 + 2.0) / 5.0)
    with pytest.raises(ValueError, match="positive threshold"):
        auc([], 5.0)


# ---------------------------------------------------------------- the collection on disk


def test_sample_round_trip(sample: SampleTruth) -> None:
    again = read_sample(sample.folder)
    assert again.intrinsics == sample.intrinsics
    assert again.clip_intrinsics == sample.clip_intrinsics
    assert (again.groups, again.gap, again.clip_name, again.seed) == (sample.groups, sample.gap, sample.clip_name, 3)
    assert again.frame_from_photo == sample.frame_from_photo
    assert list(again.cam_from_world) == list(sample.cam_from_world)
    for name, pose in sample.cam_from_world.items():
        assert np.array_equal(again.cam_from_world[name].rotation, pose.rotation)
        assert np.array_equal(again.cam_from_world[name].translation, pose.translation)
    assert len(again.clip_cam_from_world) == 5
    assert sorted(path.name for path in sample.folder.iterdir()) == ["clips", "photos", "truth.json"]


def test_photos_and_clip_are_what_the_truth_says(sample: SampleTruth) -> None:
    import av
    import pycolmap

    assert sorted(path.name for path in sample.photo_dir.iterdir()) == sorted(sample.cam_from_world)
    assert sample.gap.a == sample.groups[0][-1]
    assert sample.gap.b == sample.groups[1][0]
    for name in sample.cam_from_world:
        camera = pycolmap.infer_camera_from_image(str(sample.photo_dir / name))
        assert (camera.width, camera.height) == (160, 120)
        assert camera.has_prior_focal_length
        assert camera.params[0] == pytest.approx(sample.intrinsics.focal_px, rel=1e-9)
    with av.open(str(sample.clip_dir / sample.clip_name)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert sample.clip_name == "left_3__right_1.mp4"
    assert len(frames) == 5
    assert frames[0].shape == (sample.clip_intrinsics.height_px, sample.clip_intrinsics.width_px, 3) == (96, 160, 3)
    assert sample.clip_intrinsics.cy_px == pytest.approx(48.0)
    assert_frame_shows(sample, frames[0], sample.gap.a)
    assert_frame_shows(sample, frames[-1], sample.gap.b)


def assert_frame_shows(sample: SampleTruth, frame: np.ndarray, name: str) -> None:
    photo = np.asarray(Image.open(sample.photo_dir / name).convert("RGB"))
    mapping = sample.frame_from_photo
    positions = pixel_grid(sample.clip_intrinsics)[2:-2, 2:-2].reshape(-1, 2)
    expected = read_at(photo, (positions - mapping.offset_px) / mapping.scale)
    assert np.corrcoef(expected.ravel(), frame[2:-2, 2:-2].ravel())[0, 1] > 0.95


def test_equal_options_give_equal_files(sample: SampleTruth, tmp_path: Path) -> None:
    again = write_sample(tmp_path / "again", SMALL)
    for name in sample.cam_from_world:
        assert (again.photo_dir / name).read_bytes() == (sample.photo_dir / name).read_bytes()
    first, second = (json.loads((truth.folder / "truth.json").read_text()) for truth in (sample, again))
    assert first == second


def test_writing_replaces_an_older_sample_and_nothing_else(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    (foreign / "photos").mkdir(parents=True)
    (foreign / "photos" / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(ValueError, match="photos of its own"):
        write_sample(foreign, SMALL)
    assert (foreign / "photos" / "holiday.jpg").read_bytes() == b"mine"
    old = tmp_path / "old"
    (old / "photos").mkdir(parents=True)
    (old / "truth.json").write_text("{}")
    (old / "photos" / "stale.jpg").write_bytes(b"")
    (old / "photos_interpose").mkdir()
    with pytest.raises(ValueError, match="format"):
        read_sample(old)
    done: list[tuple[int, int]] = []
    write_sample(old, SMALL, progress=lambda index, total: done.append((index, total)))
    assert done == [(index + 1, 11) for index in range(11)]
    assert not (old / "photos" / "stale.jpg").exists()
    assert (old / "photos_interpose").is_dir()
    assert read_sample(old).seed == 3


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path / "new", SMALL, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="is missing"):
        read_sample(tmp_path / "new")


def test_groups_see_their_facade_and_share_a_part_of_the_scene(courtyard: Scene) -> None:
    truth = plan_sample(Path("unused"), SampleOptions(seed=0, width_px=240))
    poses = [truth.cam_from_world[name] for name in (truth.gap.a, truth.gap.b)]
    views = [render(courtyard, truth.intrinsics, pose, RenderOptions(supersampling=1)) for pose in poses]
    points = views[0].points_in_world[np.isfinite(views[0].depth)]
    in_second = in_camera(points, poses[1])
    positions = geometry.project(in_second, truth.intrinsics)
    is_inside = np.all((positions > 0) & (positions < [240, 180]), axis=1) & (in_second[:, 2] > 0)
    column, row = np.floor(positions[is_inside]).astype(int).T
    is_common = np.abs(views[1].depth[row, column] / in_second[is_inside, 2] - 1.0) < 0.02
    assert 0.3 < is_common.sum() / len(points) < 0.8


def test_plans_keep_their_angles() -> None:
    options = SampleOptions(seed=1)
    truth = plan_sample(Path("unused"), options)
    centers = {name: center_in_world(pose) for name, pose in truth.cam_from_world.items()}
    azimuths = [np.degrees(np.arctan2(centers[name][0], -centers[name][1])) for group in truth.groups for name in group]
    steps = np.diff(azimuths)
    gap = steps[options.photos_per_group - 1]
    assert abs(gap - options.gap_deg) < 0.25 * options.step_deg
    assert np.all(np.abs(np.delete(steps, options.photos_per_group - 1) - options.step_deg) < 0.25 * options.step_deg)
    first, last = truth.clip_cam_from_world[0], truth.clip_cam_from_world[-1]
    assert np.array_equal(first.rotation, truth.cam_from_world[truth.gap.a].rotation)
    assert np.array_equal(last.translation, truth.cam_from_world[truth.gap.b].translation)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("bad", [{"width_px": 10}, {"photos_per_group": 2}, {"gap_deg": 170.0}, {"step_deg": 0.0}])
def test_impossible_options_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        SampleOptions(**bad)  # type: ignore[arg-type]


def test_impossible_cameras_and_textures_are_refused(courtyard: Scene, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="folds"):
        render(courtyard, Intrinsics(240, 180, 100.0, 120.0, 90.0, radial=-0.3), look_at((0, -9, 2), (0, 0, 2)))
    with pytest.raises(ValueError, match="focal"):
        render(courtyard, Intrinsics(240, 180, 0.0, 120.0, 90.0), look_at((0, -9, 2), (0, 0, 2)))
    with pytest.raises(ValueError, match="supersampling"):
        RenderOptions(supersampling=0)
    with pytest.raises(ValueError, match="positive"):
        make_texture(np.random.default_rng(0), (0.0, 1.0), 10.0)
    with pytest.raises(ValueError, match="even"):
        write_clip(tmp_path / "odd.mp4", [np.zeros((33, 64, 3), np.uint8)])
    with pytest.raises(ValueError, match="none"):
        write_clip(tmp_path / "none.mp4", [])
