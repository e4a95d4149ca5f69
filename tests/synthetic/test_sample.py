from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from interpose_sfm import geometry
from interpose_sfm.synthetic import (
    RenderOptions,
    SampleOptions,
    SampleTruth,
    Scene,
    center_in_world,
    plan_sample,
    read_sample,
    render,
    write_sample,
)
from rendered import in_camera, pixel_grid, read_at

SMALL = SampleOptions(seed=3, width_px=160, photos_per_group=3, num_frames=5, supersampling=1)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleTruth:
    return write_sample(tmp_path_factory.mktemp("sample") / "collection", SMALL)


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
