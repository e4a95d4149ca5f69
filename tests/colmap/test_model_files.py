"""Model files that are cut, that go on, or that announce what is not there."""

from __future__ import annotations

import random
import shutil
import struct
from pathlib import Path

import pytest

from base_models import Base
from interpose_sfm.colmap import reconstruction
from interpose_sfm.colmap.model_files import check_model

FILES = ("cameras.bin", "rigs.bin", "frames.bin", "images.bin", "points3D.bin")


@pytest.fixture
def model_dir(original: Base, tmp_path: Path) -> Path:
    (folder,) = reconstruction.write_models([original.model], tmp_path / "models")
    return folder


def test_a_whole_model_is_read(model_dir: Path) -> None:
    check_model(model_dir)
    (model,) = reconstruction.read_models(model_dir.parent, 2)
    assert model.num_reg_images() == 4


def test_what_is_no_model_folder_is_passed_over(model_dir: Path) -> None:
    for name in ("notes", "-1", "1.5", "²"):
        (model_dir.parent / name).mkdir()
    assert len(reconstruction.read_models(model_dir.parent, 2)) == 1


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_named_and_not_read(model_dir: Path, name: str) -> None:
    path, rng = model_dir / name, random.Random(0)
    whole = path.read_bytes()
    cuts = {0, 1, 8, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(20))}
    damaged = [whole[:cut] for cut in sorted(cuts)]
    damaged += [whole + b"\0", whole + whole[8:], struct.pack("<Q", 2**60) + whole[8:], b"\xff" * len(whole)]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{model_dir} cannot be read \({name} .*; delete {model_dir.parent}"):
            reconstruction.read_models(model_dir.parent, 2)
    path.unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        reconstruction.read_models(model_dir.parent, 2)


@pytest.mark.parametrize(
    ("name", "offset", "layout", "value"),
    [
        ("cameras.bin", 12, "<i", 99),  # the camera model
        ("images.bin", 8 + 4 + 56, "<I", 77),  # the camera of the first image
        ("frames.bin", 8 + 4, "<I", 77),  # the rig of the first frame
        ("frames.bin", 8 + 8 + 56 + 4 + 8, "<Q", 77),  # the image of the first frame
        ("points3D.bin", 8 + 43, "<Q", 2**61),  # the track of the first point
    ],
)
def test_what_no_other_file_holds_is_refused(model_dir: Path, name: str, offset: int, layout: str, value: int) -> None:
    content = bytearray((model_dir / name).read_bytes())
    struct.pack_into(layout, content, offset, value)
    (model_dir / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"cannot be read \({name} "):
        reconstruction.read_models(model_dir.parent, 2)


def test_a_link_is_no_file_of_a_model(model_dir: Path, tmp_path: Path) -> None:
    shutil.move(model_dir / "rigs.bin", tmp_path / "rigs.bin")
    (model_dir / "rigs.bin").symlink_to(tmp_path / "rigs.bin")
    with pytest.raises(ValueError, match=r"rigs\.bin is missing"):
        check_model(model_dir)
