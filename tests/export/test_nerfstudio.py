"""transforms.json as nerfstudio's documentation describes it, by a reader that shares no code with the exporter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exported_scene import NAMES, PARAMS, Transforms, make_source, read_transforms
from interpose_sfm.export import nerfstudio
from interpose_sfm.export.source import ExportSource
from interpose_sfm.products import FloatArray

MODELS = [name for name in PARAMS if name not in ("FULL_OPENCV", "FOV", "THIN_PRISM_FISHEYE")]


def exported(source: ExportSource, folder: Path) -> Transforms:
    folder.mkdir()
    nerfstudio.write(source, folder)
    return read_transforms(folder)


def in_exported_order(source: ExportSource, read: Transforms) -> list[int]:
    """Ids of the model's points in the order of the exported ones, by their positions."""
    ids = sorted(source.model.points3D)
    applied = np.array(read.document["applied_transform"])
    expected = np.array([source.model.point3D(i).xyz for i in ids]) @ applied[:, :3].T + applied[:, 3]
    distances = np.linalg.norm(read.points[:, None] - expected[None], axis=-1)
    nearest = distances.argmin(axis=1)
    assert sorted(nearest) == list(range(len(ids)))
    assert distances.min(axis=1).max() < 1e-5
    return [ids[i] for i in nearest]


def errors_px(source: ExportSource, read: Transforms, *, opengl: bool = True) -> FloatArray:
    """Per photo and point in it, how far the reader's pixel is from where the model itself projects the point."""
    ids = in_exported_order(source, read)
    errors = []
    for frame in read.document["frames"]:
        image = source.model.find_image_with_name(frame["file_path"].removeprefix("images/"))
        seen = {point.point3D_id for point in image.points2D if point.has_point3D()}
        pixels = read.project(frame, opengl=opengl)
        for point_id, pixel in zip(ids, pixels, strict=True):
            if point_id in seen:
                errors.append(np.linalg.norm(pixel - image.project_point(source.model.point3D(point_id).xyz)))
    assert len(errors) > 100
    return np.array(errors)


@pytest.mark.parametrize("model", MODELS)
def test_exported_points_fall_where_the_model_has_them(model: str, tmp_path: Path) -> None:
    source = make_source(tmp_path / "model", model)
    read = exported(source, tmp_path / "out")
    assert errors_px(source, read).max() < 1e-3
    assert np.median(errors_px(source, read, opengl=False)) > 10  # who takes the axes for OpenCV's gets nothing right


def test_keys_of_one_camera_stand_at_the_top(tmp_path: Path) -> None:
    source = make_source(tmp_path / "model", "OPENCV")
    document = exported(source, tmp_path / "out").document
    intrinsics = {key: document[key] for key in ("fl_x", "fl_y", "cx", "cy", "w", "h", "k1", "k2", "p1", "p2")}
    fx, *others = PARAMS["OPENCV"]
    assert list(intrinsics.values()) == [fx + 1, *others[:3], 160, 120, *others[3:]]
    assert document["camera_model"] == "OPENCV"
    assert document["applied_transform"] == [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]]
    assert document["ply_file_path"] == "sparse_pc.ply"
    assert [frame["file_path"] for frame in document["frames"]] == [f"images/{name}" for name in sorted(NAMES)]
    assert all(set(frame) == {"file_path", "transform_matrix", "colmap_im_id"} for frame in document["frames"])


@pytest.mark.parametrize("model", ["OPENCV", "OPENCV_FISHEYE"])
def test_each_photo_has_its_own_intrinsics_where_cameras_differ(model: str, tmp_path: Path) -> None:
    source = make_source(tmp_path / "model", model, num_cameras=2)
    read = exported(source, tmp_path / "out")
    assert read.document["camera_model"] == model
    assert not {"fl_x", "cx", "w", "k1", "k2", "k3", "p1", "p2"} & set(
        read.document
    )  # one there would hide the frames'
    assert len({frame["fl_x"] for frame in read.document["frames"]}) == 2
    assert errors_px(source, read).max() < 1e-3


def test_world_and_cameras_are_turned_alike_and_points_keep_their_colours(tmp_path: Path) -> None:
    source = make_source(tmp_path / "model", "PINHOLE")
    read = exported(source, tmp_path / "out")
    applied = np.array(read.document["applied_transform"])
    for frame in read.document["frames"]:
        image = source.model.find_image_with_name(frame["file_path"].removeprefix("images/"))
        pose = np.array(frame["transform_matrix"])
        centre = applied[:, :3] @ image.projection_center() + applied[:, 3]
        np.testing.assert_allclose(pose[:3, 3], centre, atol=1e-9)
        np.testing.assert_allclose(-pose[:3, 2], applied[:, :3] @ image.viewing_direction(), atol=1e-9)
        np.testing.assert_allclose(np.linalg.det(pose[:3, :3]), 1)
        assert pose[3].tolist() == [0, 0, 0, 1]
    colours = [source.model.point3D(i).color.tolist() for i in in_exported_order(source, read)]
    assert read.colours.tolist() == colours


def test_photos_lie_there_and_only_those_with_a_pose(tmp_path: Path) -> None:
    source = make_source(tmp_path / "model", "SIMPLE_RADIAL")
    source.model.deregister_frame(source.model.find_image_with_name("d.png").frame_id)
    read = exported(source, tmp_path / "out")
    paths = [frame["file_path"] for frame in read.document["frames"]]
    assert paths == ["images/b.png", "images/sub/a.png", "images/sub/c.png"]
    for path in paths:
        photo = source.image_dir / path.removeprefix("images/")
        assert (read.folder / path).samefile(photo)  # linked: the photos do not take up their room twice
    assert not (read.folder / "images" / "d.png").exists()


def test_every_photo_names_its_mask_where_there_are_masks(tmp_path: Path) -> None:
    source = make_source(tmp_path / "model", "OPENCV", with_masks=True)
    source.model.deregister_frame(source.model.find_image_with_name("d.png").frame_id)
    read = exported(source, tmp_path / "out")
    assert [frame["mask_path"] for frame in read.document["frames"]] == [
        "masks/b.png.png",
        "masks/sub/a.png.png",
        "masks/sub/c.png.png",
    ]
    for frame in read.document["frames"]:
        name = frame["file_path"].removeprefix("images/")
        assert (read.folder / frame["mask_path"]).samefile(tmp_path / "model" / "masks" / f"{name}.png")
    assert not (read.folder / "masks" / "d.png.png").exists()


def test_cameras_that_nerfstudio_has_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no camera model for FULL_OPENCV, expected one of .*; leave nerfstudio out"):
        nerfstudio.check(make_source(tmp_path / "full", "FULL_OPENCV"))
    mixed = make_source(tmp_path / "mixed", "OPENCV", num_cameras=2)
    mixed.model.camera(2).model = mixed.model.camera(2).model.OPENCV_FISHEYE
    with pytest.raises(ValueError, match=r"got both \(OPENCV, OPENCV_FISHEYE\); leave nerfstudio out"):
        nerfstudio.check(mixed)


def test_a_missing_photo_is_named(tmp_path: Path) -> None:
    source = make_source(tmp_path / "model", "PINHOLE")
    (source.image_dir / "sub/c.png").unlink()
    with pytest.raises(ValueError, match=r"1 photos of the model .* such as sub/c.png; run reconstruct"):
        nerfstudio.check(source)
