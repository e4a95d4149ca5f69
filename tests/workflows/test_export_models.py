"""The export of an output folder: all models, all or nothing, and nothing of anybody else's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from exported_scene import make_workspace, read_ply, read_transforms
from interpose_sfm import ExportFormat, WorkspaceBusyError, export_models
from interpose_sfm.storage.workspace import Workspace


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_every_model_has_every_form_and_the_largest_is_named(tmp_path: Path) -> None:
    output = make_workspace(tmp_path / "out", sizes=(5, 3)).root
    told: list[tuple[str, int, int]] = []
    result = export_models(output, progress=lambda *state: told.append(state))
    assert result.folder == output / "export"
    assert set(ExportFormat) - set(result.formats) == {ExportFormat.MASKS, ExportFormat.MESH}
    assert [(m.folder, m.num_photos, m.is_largest) for m in result.models] == [
        (output / "export" / "0", 5, True),
        (output / "export" / "1", 3, False),
    ]
    for index, model in enumerate(result.models):
        assert sorted(path.name for path in model.folder.iterdir()) == ["nerfstudio", "ply", "text", "undistorted"]
        assert len(read_transforms(model.folder / "nerfstudio").document["frames"]) == model.num_photos
        for folder in ("text", "undistorted/sparse/0"):
            read = pycolmap.Reconstruction(model.folder / folder)
            assert all(image.name.startswith(f"{index}_") for image in read.images.values())
            assert (read.num_reg_images(), read.num_points3D()) == (model.num_photos, model.num_points)
        assert len(read_ply(model.folder / "ply" / "points.ply")[0]) == model.num_points
    said = json.loads((output / "export" / "export.json").read_text())
    assert said["note"] == "0 is the largest of 2 models; each has a frame and a scale of its own, unless georegistered"
    assert [model["is_largest"] for model in said["models"]] == [True, False]
    assert set(said["files"]) == tree(output / "export").keys() - {"export.json"}
    assert told == [("export", i, 8) for i in range(9)]


def test_an_earlier_export_is_replaced_as_a_whole(tmp_path: Path) -> None:
    output = make_workspace(tmp_path / "out").root
    export_models(output, ["text", "ply"], tmp_path / "new" / "to")
    export_models(output, ["ply"], tmp_path / "new" / "to")
    assert tree(tmp_path / "new" / "to").keys() == {"export.json", "0/ply/cleaned.ply", "0/ply/points.ply"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["to"]


@pytest.mark.parametrize("earlier", [False, True])
def test_files_of_others_stay(earlier: bool, tmp_path: Path) -> None:
    output = make_workspace(tmp_path / "out").root
    if earlier:
        export_models(output, ["ply"], tmp_path / "to")
    (tmp_path / "to" / "0").mkdir(parents=True, exist_ok=True)
    (tmp_path / "to" / "0" / "mine.txt").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=r"holds files that no export wrote \(0/mine\.txt\).*choose a new folder"):
        export_models(output, ["text"], tmp_path / "to")
    assert tree(tmp_path) == before


def test_masks_of_the_output_folder_come_along(tmp_path: Path) -> None:
    output = make_workspace(tmp_path / "out", with_masks=True).root
    result = export_models(output, ["nerfstudio", "undistorted", "masks"])
    folder = result.models[0].folder
    assert all("mask_path" in frame for frame in read_transforms(folder / "nerfstudio").document["frames"])
    names = {path.name for path in (folder / "undistorted" / "images").iterdir()}
    assert len(names) == 4
    for masks in (folder / "undistorted" / "masks", folder / "masks"):
        assert {path.name for path in masks.iterdir()} == {f"{name}.png" for name in names}


def test_every_form_is_turned_upright(tmp_path: Path) -> None:
    output = make_workspace(tmp_path / "out").root
    sparse = output / "sparse" / "0"
    model = pycolmap.Reconstruction(sparse)
    level_ring(model)
    model.transform(pycolmap.Sim3d(2.0, pycolmap.Rotation3d(np.array([0.3, -0.5, 0.2, 0.6])), [1.0, 2.0, 3.0]))
    model.write(sparse)
    folder = export_models(output, align="up").models[0].folder
    assert json.loads((output / "export" / "export.json").read_text())["align"] == "up"
    for name in ("text", "undistorted/sparse/0"):
        read = pycolmap.Reconstruction(folder / name)
        assert all(up_of(image) @ [0, -1, 0] > 0.9999 for image in read.images.values())
    for frame in read_transforms(folder / "nerfstudio").document["frames"]:
        assert np.array(frame["transform_matrix"])[2, 1] > 0.9999  # z is up there
    points = np.array([point.xyz for point in pycolmap.Reconstruction(folder / "text").points3D.values()])
    np.testing.assert_allclose(
        np.sort(read_ply(folder / "ply" / "points.ply")[0], axis=0), np.sort(points, axis=0), atol=1e-4
    )
    for image in pycolmap.Reconstruction(sparse).images.values():  # which stays as it is
        np.testing.assert_array_equal(
            image.cam_from_world().matrix(), model.image(image.image_id).cam_from_world().matrix()
        )
    with pytest.raises(ValueError, match="got the alignment 'down', expected one of none, up"):
        export_models(output, align="down")


def level_ring(model: pycolmap.Reconstruction) -> None:
    """Turn the photos of a model level, each another way; its points stay."""
    for index, image in enumerate(model.images.values()):
        turn = pycolmap.Rotation3d(np.array([0.0, 1.2 * index, 0.0]))
        pose = image.cam_from_world()
        model.frames[image.frame_id].rig_from_world = pycolmap.Rigid3d(turn, pose.translation)


def up_of(image: pycolmap.Image) -> np.ndarray:
    return np.asarray(-image.cam_from_world().rotation.matrix()[1])


def test_what_is_no_folder_to_export_to(tmp_path: Path) -> None:
    output = make_workspace(tmp_path / "out").root
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is a file or a link, expected a folder to export to; choose"):
        export_models(output, ["text"], tmp_path / "file")
    for taken in (output, output / "images", output / "sparse"):
        with pytest.raises(ValueError, match="holds files that no export wrote"):
            export_models(output, ["text"], taken)
    (tmp_path / "to").mkdir()  # an empty one is fine
    assert export_models(output, ["text"], tmp_path / "to").folder == tmp_path / "to"


def test_without_a_model_it_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere is no output folder of reconstruct.*run reconstruct first"):
        export_models(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    output = make_workspace(tmp_path / "out", sizes=()).root
    before = tree(output)
    with pytest.raises(ValueError, match=r"holds no model: reconstruct could build none, and .*report\.json says why"):
        export_models(output)
    assert tree(output).keys() == before.keys()
    (tmp_path / "colmap" / "sparse").mkdir(parents=True)
    (tmp_path / "colmap" / "database.db").touch()
    with pytest.raises(ValueError, match="colmap is no output folder of reconstruct, so it holds no model to export"):
        export_models(tmp_path / "colmap")
    assert not (tmp_path / "colmap" / ".interpose_sfm").exists()
    with Workspace(tmp_path / "begun").locked():
        pass
    with pytest.raises(ValueError, match="begun holds no model yet: its run has not ended; run reconstruct again"):
        export_models(tmp_path / "begun")


def test_a_format_that_does_not_fit_stops_all_before_anything_is_written(tmp_path: Path) -> None:
    output = make_workspace(tmp_path / "out", model="FULL_OPENCV").root
    before = tree(output)
    told: list[tuple[str, int, int]] = []
    with pytest.raises(ValueError, match="no camera model for FULL_OPENCV"):
        export_models(output, progress=lambda *state: told.append(state))
    assert not told
    assert tree(output) == before
    export_models(output, ["undistorted", "text", "ply"])


def test_an_export_that_breaks_off_leaves_the_earlier_one(tmp_path: Path) -> None:
    output = make_workspace(tmp_path / "out").root
    export_models(output, ["ply"])
    before = tree(output / "export")
    next((output / "images").iterdir()).write_text("no picture")
    with pytest.raises(OSError, match="could not undistort"):
        export_models(output, ["ply", "undistorted"])
    assert tree(output / "export") == before
    assert not list(output.glob(".interpose_sfm-tmp-*"))


def test_text_is_left_out_where_it_would_cut_names_unless_it_is_named(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "out")
    model = pycolmap.Reconstruction(workspace.sparse_dir / "0")
    image = next(iter(model.images.values()))
    (workspace.images_dir / image.name).rename(workspace.images_dir / "IMG 1.png")
    image.name = "IMG 1.png"
    model.write(workspace.sparse_dir / "0")
    result = export_models(workspace.root)
    assert result.formats == ("nerfstudio", "undistorted", "ply")
    note = "no text, since COLMAP's text files end names of photos at the first blank, such as 'IMG 1.png'"
    assert result.models[0].note == note
    assert sorted(path.name for path in result.models[0].folder.iterdir()) == ["nerfstudio", "ply", "undistorted"]
    with pytest.raises(ValueError, match="leave text out of the formats"):
        export_models(workspace.root, ["text"])


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        ([], "got no format to export to, expected some of nerfstudio, undistorted, masks, text, ply, mesh"),
        (
            ["colmap"],
            "got the export format 'colmap', expected some of nerfstudio, undistorted, masks, text, ply, mesh",
        ),
    ],
)
def test_unknown_formats(formats: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        export_models(tmp_path, formats)


def test_not_while_a_run_works_there(tmp_path: Path) -> None:
    output = make_workspace(tmp_path / "out").root
    with Workspace(output).locked(), pytest.raises(WorkspaceBusyError):
        export_models(output)
