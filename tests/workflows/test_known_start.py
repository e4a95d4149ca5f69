"""Which photos known poses are of, and whole runs that start from some."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

from interpose_sfm import geometry
from interpose_sfm.colmap.known_poses import KnownPoses
from interpose_sfm.colmap.reconstruction import model_cameras, poses, registered_names
from interpose_sfm.options import (
    BaseOptions,
    BridgingOptions,
    ConsensusOptions,
    ConsistencyOptions,
    Mapper,
    MatchingOptions,
    PhotoOptions,
    ReconstructOptions,
)
from interpose_sfm.products import Intrinsics, KnownView, Photo, PhotoSet, Pose
from interpose_sfm.report import ReconstructionResult
from interpose_sfm.synthetic import SampleOptions, SampleTruth, write_sample
from interpose_sfm.workflows import known_start, reconstruct
from interpose_sfm.workflows.start_checks import check_options

QUICK = ReconstructOptions(
    generator="none",
    html=False,
    matching=MatchingOptions(max_keypoints=512, max_frame_keypoints=512),
    consistency=ConsistencyOptions(num_random_subsets=3),
)

CAMERA = Intrinsics(640, 480, 500.0, 320.0, 240.0, (), True, "PINHOLE")

# ---------------------------------------------------------------- which photos


def pose_at(x: float) -> Pose:
    return Pose(np.eye(3), np.array([x, 0.0, 0.0]))


def known_as(*names: str, folder: Path | None = None, camera: Intrinsics = CAMERA) -> KnownPoses:
    views = tuple((name, KnownView(camera, pose_at(float(x)))) for x, name in enumerate(names))
    return KnownPoses(Path("poses"), views, folder)


def photos_named(*names: str) -> PhotoSet:
    photos = tuple(Photo(name, Path(name), 640, 480, None, "", "", name) for name in names)
    return PhotoSet(Path("images"), photos, ())


def found(known: KnownPoses, photo_set: PhotoSet, photo_dir: Path = Path("/photos")) -> dict[str, float]:
    """Photo -> the place in the file of what is known of it."""
    views, _ = known_start.known_views(known, photo_dir, photo_set)
    return {name: float(view.cam_from_world.translation[0]) for name, view in views.items()}


def test_photos_are_found_by_path_and_else_by_file_name() -> None:
    photo_set = photos_named("left/a.jpg", "right/a.jpg", "b.jpg")
    assert found(known_as("right/a.jpg", "images/b.jpg"), photo_set) == {"right/a.jpg": 0.0, "b.jpg": 1.0}
    in_photos = known_as("../right/a.jpg", "./a.jpg", folder=Path("/photos/left"))
    assert found(in_photos, photo_set) == {"right/a.jpg": 0.0, "left/a.jpg": 1.0}
    absolute = known_as("/photos/left/a.jpg", "/photos/b.jpg", folder=Path("/elsewhere"))
    assert found(absolute, photo_set) == {"left/a.jpg": 0.0, "b.jpg": 1.0}


def test_names_of_files_count_where_images_are_called_otherwise() -> None:
    photo_set = photos_named("a.png", "b.jpg")
    first = replace(photo_set.photos[0], source="a.webp")
    photo_set = replace(photo_set, photos=(first, photo_set.photos[1]))
    assert found(known_as("a.webp", "b.jpg"), photo_set) == {"a.png": 0.0, "b.jpg": 1.0}


def test_names_of_no_photo_are_told_and_too_few_are_refused() -> None:
    photo_set = photos_named("a.jpg", "b.jpg")
    views, note = known_start.known_views(known_as("a.jpg", "b.jpg", "c.jpg"), Path("/photos"), photo_set)
    assert len(views) == 2
    assert note == "1 of 3 names in poses are no photo, such as c.jpg"
    with pytest.raises(
        ValueError, match=r"has poses of 2 photos, such as c.jpg, of which 1 are in /photos; expected 2 or more, with "
    ):
        known_start.known_views(known_as("a.jpg", "c.jpg"), Path("/photos"), photo_set)


def test_names_that_fit_two_photos_and_two_names_of_one_are_refused() -> None:
    photo_set = photos_named("left/a.jpg", "right/a.jpg", "b.jpg")
    with pytest.raises(ValueError, match=r"a.jpg may be any of left/a.jpg, right/a.jpg; expected paths below /photos"):
        found(known_as("a.jpg", "b.jpg"), photo_set)
    with pytest.raises(ValueError, match=r"b.jpg and images/b.jpg are both b.jpg; expected one pose a photo"):
        found(known_as("b.jpg", "images/b.jpg"), photo_set)


def test_poses_of_one_place_are_refused() -> None:
    views = tuple((name, KnownView(CAMERA, pose_at(2.0))) for name in ("a.jpg", "b.jpg"))
    with pytest.raises(ValueError, match="all known poses are at one place"):
        found(KnownPoses(Path("poses"), views), photos_named("a.jpg", "b.jpg"))


def test_cameras_are_scaled_to_photos_of_their_shape_only() -> None:
    photo_set = photos_named("a.jpg", "b.jpg")
    half = Intrinsics(320, 240, 250.0, 160.0, 120.0, (), True, "PINHOLE")
    views, _ = known_start.known_views(known_as("a.jpg", "b.jpg", camera=half), Path("/photos"), photo_set)
    assert views["a.jpg"].camera == CAMERA
    whole = Intrinsics(1600, 1190, 1250.0, 800.0, 595.0, (), True, "PINHOLE")  # of whole pixels, so not quite alike
    views, _ = known_start.known_views(known_as("a.jpg", "b.jpg", camera=whole), Path("/photos"), photo_set)
    scaled = geometry.to_colmap_camera(whole)
    scaled.rescale(640, 480)
    assert geometry.to_colmap_camera(views["a.jpg"].camera).params == pytest.approx(scaled.params)
    lying = Intrinsics(480, 640, 500.0, 240.0, 320.0, (), True, "PINHOLE")
    with pytest.raises(ValueError, match=r"a.jpg has 640 x 480 px upright, its known camera 480 x 640; --keep-orient"):
        found(known_as("a.jpg", "b.jpg", camera=lying), photo_set)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (ReconstructOptions(base=BaseOptions(mapper=Mapper.GLOBAL)), "leave them out, or mapper global"),
        (ReconstructOptions(base=BaseOptions(split_lookalikes=True)), "leave them out, or split-lookalikes"),
        (ReconstructOptions(georegister=True), "leave them out, or georegister"),
        (ReconstructOptions(), "known-poses must be"),
    ],
)
def test_what_would_move_known_poses_is_refused_at_the_start(
    options: ReconstructOptions, match: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=match):
        check_options(replace(options, known_poses=tmp_path / "none"))


# ---------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleTruth:
    """Two groups of four photos that SIFT cannot connect, and a clip between them."""
    folder = tmp_path_factory.mktemp("sample")
    return write_sample(folder, SampleOptions(seed=0, width_px=400, photos_per_group=4, supersampling=1))


def write_transforms(path: Path, sample: SampleTruth, names: Sequence[str], *, opengl: bool = True) -> Path:
    """As nerfstudio writes it: poses are camera to world, by axes of OpenGL."""
    camera = sample.intrinsics
    frames = []
    for name in names:
        world_from_cam = sample.cam_from_world[name].inverse()
        matrix = np.eye(4)
        matrix[:3] = np.column_stack([world_from_cam.rotation, world_from_cam.translation])
        matrix[:, 1:3] *= -1 if opengl else 1
        frames.append({"file_path": str(sample.photo_dir / name), "transform_matrix": matrix.tolist()})
    size = {"w": camera.width_px, "h": camera.height_px, "cx": camera.cx_px, "cy": camera.cy_px}
    document = {"camera_model": "OPENCV", "fl_x": camera.focal_px, **size, "frames": frames}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def errors_m(model: pycolmap.Reconstruction, truth: Mapping[str, Pose]) -> dict[str, float]:
    """How far photos are from where they were taken, without any alignment."""
    return {
        name: float(np.linalg.norm(pose.inverse().translation - truth[name].inverse().translation))
        for name, pose in poses(model).items()
    }


def assert_given(result: ReconstructionResult, sample: SampleTruth, names: Sequence[str]) -> pycolmap.Reconstruction:
    """The first model has these photos exactly where they were given, through the camera that was given."""
    model = pycolmap.Reconstruction(result.model_dirs[0])
    now = poses(model)
    for name in names:
        assert float(geometry.rotation_angle_deg(now[name].rotation @ sample.cam_from_world[name].rotation.T)) < 1e-5
        assert errors_m(model, sample.cam_from_world)[name] < 1e-9
        camera = model_cameras(model)[name]
        assert (camera.model, camera.focal_px) == ("PINHOLE", pytest.approx(sample.intrinsics.focal_px, rel=1e-12))
    return model


@pytest.fixture(scope="module")
def left(sample: SampleTruth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first group alone, which COLMAP connects."""
    folder = tmp_path_factory.mktemp("left")
    for name in sample.groups[0]:
        shutil.copy(sample.photo_dir / name, folder)
    return folder


def test_what_is_missing_is_added_and_what_is_known_stays(sample: SampleTruth, left: Path, tmp_path: Path) -> None:
    names = sample.groups[0]
    path = write_transforms(tmp_path / "transforms.json", sample, names[:2])
    options = replace(QUICK, known_poses=path)
    result = reconstruct.reconstruct(left, tmp_path / "out", options)
    model = assert_given(result, sample, names[:2])
    assert registered_names(model) == frozenset(names)
    depth_m = float(np.mean([np.linalg.norm(point.xyz) for point in model.points3D.values()]))
    assert max(errors_m(model, sample.cam_from_world).values()) < 0.02 * depth_m
    assert all(camera.was_known for camera in result.report.cameras)

    again = reconstruct.reconstruct(left, tmp_path / "out", options)
    assert "mapping" not in again.report.timings_s  # the same poses: nothing is mapped anew
    moved = write_transforms(tmp_path / "transforms.json", sample, names[1:3])
    third = reconstruct.reconstruct(left, tmp_path / "out", replace(options, known_poses=moved))
    assert "mapping" in third.report.timings_s
    assert_given(third, sample, names[1:3])


def test_axes_of_opencv_in_a_transforms_json_are_told(sample: SampleTruth, left: Path, tmp_path: Path) -> None:
    turned = write_transforms(tmp_path / "turned.json", sample, sample.groups[0], opengl=False)
    with pytest.raises(ValueError, match="only if y and z of every camera are turned round"):
        reconstruct.reconstruct(left, tmp_path / "out", replace(QUICK, known_poses=turned))


def test_poses_of_pictures_that_are_stored_upside_down_are_told(
    sample: SampleTruth, left: Path, tmp_path: Path
) -> None:
    """One photo of four, whose pose is of the file, as programs find it that do not look at EXIF."""
    photos = shutil.copytree(left, tmp_path / "photos")
    first, second, *others = sample.groups[0]
    with Image.open(left / second) as picture:
        exif = picture.getexif()
        exif[0x0112] = 3
        picture.transpose(Image.Transpose.ROTATE_180).save(photos / second, quality=95, exif=exif)

    def run(turned: Sequence[str], name: str, *, keep_orientation: bool) -> Sequence[str]:
        upside_down = Pose(np.diag([-1.0, -1.0, 1.0]), np.zeros(3))
        files = {**sample.cam_from_world, **{name: upside_down @ sample.cam_from_world[name] for name in turned}}
        path = write_transforms(tmp_path / name, replace(sample, cam_from_world=files), sample.groups[0])
        options = replace(QUICK, known_poses=path, photos=PhotoOptions(keep_orientation=keep_orientation))
        return reconstruct.reconstruct(photos, tmp_path / f"{name}_out", options).report.warnings

    with pytest.raises(ValueError, match=f"1 photos, such as {second}, .* upside down, .*; --keep-orientation takes"):
        run([second], "upright", keep_orientation=False)
    assert not any("speak against" in warning for warning in run([second], "stored", keep_orientation=True))
    hint = "if they are of upright pictures, leave --keep-orientation out"
    assert any(hint in warning for warning in run([first, *others], "wrong", keep_orientation=True))


@pytest.mark.long
def test_a_clip_joins_the_others_to_known_photos(sample: SampleTruth, tmp_path: Path) -> None:
    left, right = sample.groups
    path = write_transforms(tmp_path / "transforms.json", sample, left[:2])
    bridging = BridgingOptions(clip_dirs=(sample.clip_dir,))
    options = replace(
        QUICK,
        generator="auto",
        known_poses=path,
        bridging=bridging,
        consensus=ConsensusOptions(accept_unseen=True),
    )
    result = reconstruct.reconstruct(sample.photo_dir, tmp_path / "out", options)
    model = assert_given(result, sample, left[:2])
    assert registered_names(model) == frozenset(left + right)
    assert max(errors_m(model, sample.cam_from_world).values()) < 0.5
