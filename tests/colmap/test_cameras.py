from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

from bad_photos import exif
from interpose_sfm.colmap.cameras import camera_groups, check_camera, import_cameras
from interpose_sfm.options import CameraMode, ReconstructOptions
from interpose_sfm.products import GpsPosition, PhotoSet
from interpose_sfm.workflows.start_checks import check_options
from photo_folders import (
    collect,
    photo,
    put,
)


def test_auto_shares_a_camera_between_photos_that_agree() -> None:
    photos = [
        photo("e.jpg", (300, 400), 350, "Canon"),
        photo("a.jpg", focal_px=350, make="Canon"),
        photo("b.jpg"),
        photo("sub/c.jpg", focal_px=350, make="Canon"),
        photo("d.jpg", focal_px=351, make="Canon"),
        photo("f.jpg", focal_px=350, make="Nikon"),
        photo("g.jpg"),
    ]
    groups = camera_groups(photos, CameraMode.AUTO)
    assert groups == (("a.jpg", "sub/c.jpg"), ("b.jpg", "g.jpg"), ("d.jpg",), ("e.jpg",), ("f.jpg",))


def test_other_camera_modes() -> None:
    photos = [
        photo("b.jpg"),
        photo("a.jpg", focal_px=350),
        photo("sub/c.jpg"),
        photo("sub/x/d.jpg"),
        photo("sub/e.jpg"),
    ]
    assert camera_groups(photos, CameraMode.SINGLE) == (("a.jpg", "b.jpg", "sub/c.jpg", "sub/e.jpg", "sub/x/d.jpg"),)
    folders = (("a.jpg", "b.jpg"), ("sub/c.jpg", "sub/e.jpg"), ("sub/x/d.jpg",))
    assert camera_groups(photos, CameraMode.PER_FOLDER) == folders
    assert len(camera_groups(photos, CameraMode.PER_IMAGE)) == 5
    assert camera_groups([], CameraMode.SINGLE) == ()


@pytest.mark.parametrize("mode", [CameraMode.SINGLE, CameraMode.PER_FOLDER])
def test_photos_of_different_size_cannot_share_a_camera(mode: CameraMode) -> None:
    with pytest.raises(ValueError, match=r"a\.jpg with 400 x 300 px and c\.jpg with 300 x 400 px"):
        camera_groups([photo("a.jpg"), photo("b.jpg"), photo("c.jpg", (300, 400))], mode)


def corner_view(x_m: float) -> Image.Image:
    """A view into a corner of two textured walls, from x_m metres to the side. Focal length 480 px."""
    width, height, focal_px = 480, 360, 480.0
    rng = np.random.default_rng(7)
    texture = np.asarray(Image.fromarray(rng.integers(0, 256, (220, 420), dtype=np.uint8)).resize((1680, 880)), float)
    angle = -0.06 * x_m
    u, v = np.meshgrid(
        (np.arange(width) + 0.5 - width / 2) / focal_px, (np.arange(height) + 0.5 - height / 2) / focal_px
    )
    ray_x, ray_z = u * math.cos(angle) + math.sin(angle), -u * math.sin(angle) + math.cos(angle)
    picture_sum = np.zeros((height, width))
    nearest = np.full((height, width), np.inf)
    for side in (-1.0, 1.0):  # the walls z = 6 -+ x meet at x = 0, z = 6
        along = (6 - side * x_m) / (ray_z + side * ray_x)
        hit_x, hit_y = x_m + along * ray_x, along * v
        is_seen = (along > 0) & (along < nearest)
        column = np.clip(840 + hit_x * 160, 0, 1679).astype(int)
        row = np.clip(440 + hit_y * 160, 0, 879).astype(int)
        picture_sum = np.where(is_seen, texture[row, column], picture_sum)
        nearest = np.where(is_seen, along, nearest)
    return Image.fromarray(picture_sum.astype(np.uint8)).convert("RGB")


def image_rows(database: pycolmap.Database) -> list[tuple[str, int, int, int]]:
    return [(row.name, row.image_id, row.camera_id, row.frame_id) for row in database.read_all_images()]


def test_colmap_works_with_our_cameras(folder: Path, tmp_path: Path) -> None:
    (folder / "sub").mkdir()
    for index, name in enumerate(["a b.jpg", "b.webp", "sub/é.png", "sub/d.jpg"]):
        tags = exif(Make="Canon", Model="X", FocalLengthIn35mmFilm=35)  # 35 / 43.27 * 600 = 485 px
        corner_view(0.7 * index - 1).save(folder / name, exif=tags)
    photo_set = collect(folder)
    database_path = tmp_path / "database.db"
    import_cameras(database_path, photo_set, CameraMode.AUTO)
    with pycolmap.Database.open(database_path) as database:
        (camera,) = database.read_all_cameras()
        before = image_rows(database)
        assert (database.num_rigs(), database.num_frames()) == (1, 4)
    assert camera.model_name == "SIMPLE_RADIAL"
    assert camera.has_prior_focal_length
    assert list(camera.params) == pytest.approx([35 / 43.27 * 600, 240, 180, 0], abs=1e-3)

    options = pycolmap.FeatureExtractionOptions(num_threads=1)
    options.sift.max_num_features = 1500
    pycolmap.extract_features(database_path, photo_set.image_dir, extraction_options=options)
    with pycolmap.Database.open(database_path) as database:
        assert image_rows(database) == before
        assert [row.summary() for row in database.read_all_cameras()] == [camera.summary()]
        assert all(database.num_keypoints_for_image(index) > 100 for index in range(1, 5))
    pycolmap.match_exhaustive(database_path)
    mapping = pycolmap.IncrementalPipelineOptions(min_model_size=3, num_threads=1, random_seed=0)
    models = pycolmap.incremental_mapping(database_path, photo_set.image_dir, tmp_path / "sparse", mapping)
    assert len(models) == 1
    assert models[0].num_reg_images() == 4
    assert models[0].cameras[1].focal_length == pytest.approx(480, rel=0.1)


def test_cameras_as_pycolmap_would_import_them(folder: Path, tmp_path: Path) -> None:
    """PER_IMAGE on files that COLMAP reads as they are: both databases say the same."""
    put(folder, "a.jpg", "sub/b.jpg")
    put(folder, "c.jpg", exif=exif(Make="Canon", Model="X", FocalLengthIn35mmFilm=35))
    photo_set = collect(folder)
    ours, theirs = tmp_path / "ours.db", tmp_path / "theirs.db"
    import_cameras(ours, photo_set, CameraMode.PER_IMAGE)
    with pycolmap.Database.open(theirs):
        pass
    pycolmap.import_images(theirs, photo_set.image_dir, camera_mode=pycolmap.CameraMode.PER_IMAGE)
    with pycolmap.Database.open(ours) as a, pycolmap.Database.open(theirs) as b:
        assert image_rows(a) == image_rows(b)
        assert [rig.summary() for rig in a.read_all_rigs()] == [rig.summary() for rig in b.read_all_rigs()]
        assert [frame.summary() for frame in a.read_all_frames()] == [frame.summary() for frame in b.read_all_frames()]
        for camera, expected in zip(a.read_all_cameras(), b.read_all_cameras(), strict=True):
            assert list(camera.params) == pytest.approx(list(expected.params))
            assert camera.has_prior_focal_length == expected.has_prior_focal_length
            assert (camera.width, camera.height) == (expected.width, expected.height)


def test_shared_camera_takes_the_first_known_focal_length(tmp_path: Path) -> None:
    photos = (photo("a.jpg"), photo("b.jpg", focal_px=350.0), photo("c.jpg", focal_px=400.0))
    import_cameras(tmp_path / "d.db", PhotoSet(tmp_path, photos, ()), CameraMode.SINGLE)
    with pycolmap.Database.open(tmp_path / "d.db") as database:
        (camera,) = database.read_all_cameras()
    assert camera.has_prior_focal_length
    assert camera.focal_length == 350


def test_cameras_are_of_the_model_that_is_asked_for(tmp_path: Path) -> None:
    photos = (photo("a.jpg"), photo("b.jpg", focal_px=350.0))
    photo_set = PhotoSet(tmp_path, photos, ())
    import_cameras(tmp_path / "d.db", photo_set, CameraMode.PER_IMAGE, "OPENCV_FISHEYE")
    width_px, height_px = photos[0].width_px, photos[0].height_px
    with pycolmap.Database.open(tmp_path / "d.db") as database:
        guessed, known = database.read_all_cameras()
    focal_px = 1.2 * max(width_px, height_px)
    assert list(guessed.params) == [focal_px, focal_px, width_px / 2, height_px / 2, 0, 0, 0, 0]
    assert (guessed.has_prior_focal_length, known.has_prior_focal_length) == (False, True)
    assert known.mean_focal_length() == 350
    given = "300, 310, 149, 101, 0.1, 0, 0, -0.01"
    import_cameras(tmp_path / "given.db", photo_set, CameraMode.SINGLE, "OPENCV_FISHEYE", given)
    with pycolmap.Database.open(tmp_path / "given.db") as database:
        (camera,) = database.read_all_cameras()
    assert camera.has_prior_focal_length
    assert list(camera.params) == [300, 310, 149, 101, 0.1, 0, 0, -0.01]
    assert (camera.width, camera.height) == (width_px, height_px)
    import_cameras(tmp_path / "fixed.db", photo_set, CameraMode.PER_IMAGE, is_fixed=True)
    with pycolmap.Database.open(tmp_path / "fixed.db") as database:
        assert all(camera.has_prior_focal_length for camera in database.read_all_cameras())
    several = PhotoSet(tmp_path, (*photos, photo("c.jpg", (50, 70))), ())
    with pytest.raises(ValueError, match="photos of one size, got 50 x 70, "):
        import_cameras(tmp_path / "more.db", several, CameraMode.AUTO, "OPENCV_FISHEYE", given)


@pytest.mark.parametrize(("model", "params", "message"), [
    ("PINEHOLE", "", "camera-model must be one of SIMPLE_PINHOLE, PINHOLE, .*, EUCM, got PINEHOLE"),
    ("EQUIRECTANGULAR", "", "camera-model must be one of"),
    ("PINHOLE", "500,320,240", "camera-params of PINHOLE must be 4 numbers, fx, fy, cx, cy, separated by commas; got"),
    ("PINHOLE", "500,500,320,middle", "must be 4 numbers"),
    ("PINHOLE", "500,0,320,240", "focal lengths above 0"),
    ("PINHOLE", "500,nan,320,240", "finite"),
])  # fmt: skip
def test_cameras_that_cannot_be_used_are_told_at_the_start(model: str, params: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_camera(model, params)
    options = ReconstructOptions(camera_model=model, camera_params=params)
    with pytest.raises(ValueError, match=message):
        check_options(options)


def test_every_model_with_a_projection_can_be_asked_for() -> None:
    for model in set(pycolmap.CameraModelId.__members__) - {"INVALID", "EQUIRECTANGULAR"}:
        check_camera(model, "")
    check_camera("THIN_PRISM_FISHEYE", "500, 501, 320, 240, 0.1, 0, 0, 0, 0, 0, 0, -1e-3")


def test_gps_positions_become_pose_priors(tmp_path: Path) -> None:
    known = replace(photo("b.jpg"), gps=GpsPosition(48.5, -2.25, 102.5))
    on_the_ground = replace(photo("c.jpg"), gps=GpsPosition(48.5, -2.25, None))
    import_cameras(tmp_path / "d.db", PhotoSet(tmp_path, (photo("a.jpg"), known, on_the_ground), ()), CameraMode.SINGLE)
    with pycolmap.Database.open(tmp_path / "d.db") as database:
        (prior,) = database.read_all_pose_priors()
        assert prior.corr_data_id == database.read_image_with_name("b.jpg").data_id
    assert prior.position.tolist() == [48.5, -2.25, 102.5]
    assert prior.coordinate_system == pycolmap.PosePriorCoordinateSystem.WGS84


def test_a_database_is_filled_once_and_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    photos = PhotoSet(tmp_path, (photo("a.jpg"), photo("b.jpg", (300, 400))), ())
    with pytest.raises(ValueError, match="equal size"):
        import_cameras(path, photos, CameraMode.SINGLE)
    import_cameras(path, photos, CameraMode.AUTO)
    with pytest.raises(ValueError, match="expected a new database"):
        import_cameras(path, photos, CameraMode.AUTO)
    with pycolmap.Database.open(path) as database:
        assert (database.num_cameras(), database.num_images()) == (2, 2)
