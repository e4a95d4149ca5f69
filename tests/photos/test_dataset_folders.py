"""Masks, depth maps, scaled copies and models are left out by folder, and never a photo for the name of its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from bad_photos import exif, picture
from interpose_sfm.products import PhotoSet, SkipReason
from photo_folders import collect, names_of, put

NAMES = tuple(f"{index:02}" for index in range(12))


def photos(folder: Path, names: tuple[str, ...] = NAMES, size: tuple[int, int] = (322, 241)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        picture(name, *size).save(folder / f"{name}.jpg", quality=95)


def mask(size: tuple[int, int] = (322, 241)) -> Image.Image:
    """White with a black blob whose border is smooth."""
    image = Image.new("L", size, 255)
    ImageDraw.Draw(image).ellipse((80, 60, 200, 180), fill=0)
    return image.filter(ImageFilter.GaussianBlur(1))


def fill(folder: Path, draw: Callable[[int], Image.Image], ending: str = ".png") -> None:
    folder.mkdir(parents=True)
    for index, name in enumerate(NAMES):
        draw(index).save(folder / f"{name}{ending}")


def left_out(photo_set: PhotoSet) -> dict[str, str]:
    assert {file.reason for file in photo_set.skipped} <= {SkipReason.DATASET_FOLDER}
    return {file.name: file.detail for file in photo_set.skipped}


def scaled(original: Path, copy: Path, scale: int, ending: str = ".jpg") -> None:
    copy.mkdir(parents=True)
    for path in sorted(original.iterdir()):
        with Image.open(path) as image:
            size = round(image.width / scale), round(image.height / scale)
            image.resize(size, Image.Resampling.LANCZOS).save(copy / f"{path.stem}{ending}", quality=90)


# ---------------------------------------------------------------- what is left out


@pytest.mark.parametrize("ending", [".png", ".jpg.png", ".jpg"])
@pytest.mark.parametrize("name", ["masks", "mask", "dynamic_masks", "masks_2"])
def test_masks_are_left_out_with_one_line(name: str, ending: str, folder: Path) -> None:
    photos(folder / "images")
    fill(folder / name, lambda index: mask(), ending)
    (folder / name / "notes.txt").write_text("made by hand")
    photo_set = collect(folder)
    assert names_of(photo_set) == [f"images/{n}.jpg" for n in NAMES]
    assert left_out(photo_set) == {f"{name}/": "12 black-and-white masks"}
    assert photo_set.notes == (f"{name}/ is left out: 12 black-and-white masks",)
    assert not (photo_set.image_dir / name).exists()


def test_masks_of_labels_and_below_sub_folders_are_masks(folder: Path) -> None:
    photos(folder)
    fill(folder / "masks" / "cam1", lambda index: Image.fromarray((np.asarray(mask()) // 100).astype(np.uint8)))
    fill(folder / "masks" / "cam2", lambda index: mask().convert("1"))
    photo_set = collect(folder)
    assert names_of(photo_set) == [f"{n}.jpg" for n in NAMES]
    assert left_out(photo_set) == {"masks/": "24 black-and-white masks"}


def test_scaled_copies_are_left_out_with_one_line_a_folder(folder: Path) -> None:
    photos(folder / "scene" / "images")
    for scale, ending in ((2, ".jpg"), (4, ".png"), (8, ".JPG")):
        scaled(folder / "scene" / "images", folder / "scene" / f"images_{scale}", scale, ending)
    photo_set = collect(folder)
    assert names_of(photo_set) == [f"scene/images/{n}.jpg" for n in NAMES]
    assert left_out(photo_set) == {
        f"scene/images_{s}/": f"12 pictures of scene/images/ at 1/{s} of their size" for s in (2, 4)
    } | {"scene/images_8/": "12 pictures of scene/images/ at 1/8 of their size"}


def test_scaled_copies_of_photos_on_their_side_are_recognised(folder: Path) -> None:
    (folder / "images").mkdir()
    (folder / "images_2").mkdir()
    for name in NAMES:
        stored = picture(name, 241, 322).transpose(Image.Transpose.ROTATE_90)
        stored.save(folder / "images" / f"{name}.jpg", quality=95, exif=exif(Orientation=6))
        picture(name, 241, 322).resize((120, 161), Image.Resampling.BOX).save(folder / "images_2" / f"{name}.png")
    assert left_out(collect(folder)) == {"images_2/": "12 pictures of images/ at 1/2 of their size"}


def test_depth_maps_are_left_out(folder: Path) -> None:
    photos(folder / "rgb")
    ramp = np.tile(np.linspace(500, 6000, 322), (241, 1))
    fill(folder / "depth", lambda index: Image.fromarray((ramp + 100 * index).astype(np.uint16)))
    fill(folder / "depth_maps", lambda index: Image.fromarray((ramp / 30 + index).astype(np.uint8)).convert("RGB"))
    (folder / "depths").mkdir()
    for name in NAMES:
        np.save(folder / "depths" / f"{name}.npy", ramp)
    photo_set = collect(folder)
    assert names_of(photo_set) == [f"rgb/{n}.jpg" for n in NAMES]
    assert left_out(photo_set) == dict.fromkeys(("depth/", "depth_maps/", "depths/"), "12 depth maps")


def test_models_are_left_out(folder: Path) -> None:
    photos(folder / "images")
    for name in ("sparse/0/cameras.bin", "sparse/0/images.bin", "sparse/0/points3D.bin", "colmap/database.db"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 100)
    for name in ("cameras.txt", "images.txt"):
        (folder / "colmap" / name).write_text("# model\n")
    assert left_out(collect(folder)) == {
        "colmap/": "3 files of COLMAP models",
        "sparse/": "3 files of COLMAP models",
    }


# ---------------------------------------------------------------- what is not


@pytest.mark.parametrize("name", ["masks", "depth", "sparse", "images_2", "mask"])
def test_photos_are_used_whatever_their_folder_is_called(name: str, folder: Path) -> None:
    photos(folder / "images", NAMES[:2])
    photos(folder / name, NAMES[2:])
    photo_set = collect(folder)
    assert len(photo_set.photos) == 12
    assert photo_set.skipped == ()


def test_grey_photos_in_a_folder_called_depth_are_used_unless_others_have_their_names(folder: Path) -> None:
    photos(folder / "images", NAMES[:2])
    (folder / "depth").mkdir()
    for name in NAMES[2:]:
        picture(name).convert("L").save(folder / "depth" / f"{name}.png")
    assert len(collect(folder).photos) == 12


@pytest.mark.parametrize("size", [(322, 241), (161, 120), (200, 150)])
def test_photos_of_a_second_camera_are_used_though_it_has_a_number(size: tuple[int, int], folder: Path) -> None:
    """Other pictures under the same names, also where they are exactly half as large."""
    photos(folder / "cam")
    (folder / "cam_2").mkdir()
    for name in NAMES:
        picture(f"second {name}", *size).save(folder / "cam_2" / f"{name}.jpg", quality=95)
    assert len(collect(folder).photos) == 24


def test_of_a_folder_with_copies_only_these_are_left_out(folder: Path) -> None:
    photos(folder / "images")
    scaled(folder / "images", folder / "images_2", 2)
    picture("a later one", 161, 120).save(folder / "images_2" / "later.jpg", quality=95)
    photo_set = collect(folder)
    assert names_of(photo_set) == [*(f"images/{n}.jpg" for n in NAMES), "images_2/later.jpg"]
    assert left_out(photo_set) == {"images_2/": "12 pictures of images/ at 1/2 of their size"}


def test_a_folder_of_masks_and_photos_is_used(folder: Path) -> None:
    fill(folder / "masks", lambda index: mask() if index else picture("photo"))
    assert "masks/00.png" in names_of(collect(folder))


def test_the_photo_folder_itself_may_have_such_a_name(tmp_path: Path) -> None:
    put(tmp_path / "masks", "a.jpg", "b.jpg")
    fill(tmp_path / "depth", lambda index: mask())
    assert names_of(collect(tmp_path / "masks")) == ["a.jpg", "b.jpg"]
    assert len(collect(tmp_path / "depth", tmp_path / "o").photos) == 1  # they are all equal


def test_pictures_that_are_not_as_much_smaller_as_the_name_says_are_used(folder: Path) -> None:
    photos(folder / "images")
    scaled(folder / "images", folder / "images_2", 1)
    scaled(folder / "images", folder / "images_4", 2)
    assert len(collect(folder).photos) == 36
