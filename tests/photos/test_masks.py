from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from interpose_sfm.options import PhotoOptions
from interpose_sfm.photos import masks
from interpose_sfm.photos.collect import collect_photos
from interpose_sfm.products import Photo

SIZE_PX = (120, 80)


def put_photo(path: Path, orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(list(path.name.encode())).integers(0, 256, (*SIZE_PX[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=95, exif=exif)


def put_mask(path: Path, size_px: tuple[int, int] = SIZE_PX, black: tuple[int, int, int, int] = (0, 0, 40, 20)) -> None:
    """White but for one black box, (left, upper, right, lower)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.new("L", size_px, 255)
    mask.paste(0, black)
    mask.save(path)


def photos_of(folder: Path, *, keep_orientation: bool = False) -> tuple[Photo, ...]:
    options = PhotoOptions(keep_orientation=keep_orientation)
    return collect_photos(folder / "photos", folder / "run" / "images", options).photos


def test_masks_are_found_by_the_whole_name_of_their_photo(tmp_path: Path) -> None:
    for name in ("a.jpg.png", "b.png", "sub/c.jpeg.png", "d.png.png", "d.png", "e.png"):
        put_mask(tmp_path / name)
    assert masks.mask_file(tmp_path, "a.jpg") == tmp_path / "a.jpg.png"
    assert masks.mask_file(tmp_path, "b.jpg") is None  # as in COLMAP
    assert masks.mask_file(tmp_path, "b.png") == tmp_path / "b.png"
    assert masks.mask_file(tmp_path, "sub/c.jpeg") == tmp_path / "sub" / "c.jpeg.png"
    assert masks.mask_file(tmp_path, "d.png") == tmp_path / "d.png.png"


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "P"])
def test_what_is_not_black_is_used(tmp_path: Path, mode: str) -> None:
    mask = Image.new("L", (4, 2), 255)
    mask.putpixel((1, 0), 0)
    mask.convert(mode).save(tmp_path / "a.png")
    assert masks.read_mask(tmp_path / "a.png").tolist() == [[True, False, True, True], [True] * 4]
    Image.fromarray(np.array([[0, 1, 128]], np.uint8)).save(tmp_path / "grey.png")
    assert masks.read_mask(tmp_path / "grey.png").tolist() == [[False, True, True]]


def test_masks_are_turned_as_their_photos_are(tmp_path: Path) -> None:
    """The photo lies on its side and is turned by 90 degrees clockwise; so is its black corner."""
    put_photo(tmp_path / "photos" / "a.jpg", orientation=6)
    put_photo(tmp_path / "photos" / "sub" / "b.jpg")
    put_photo(tmp_path / "photos" / "c.jpg", orientation=6)
    put_mask(tmp_path / "masks" / "a.jpg.png")
    put_mask(tmp_path / "masks" / "sub" / "b.jpg.png")
    put_mask(tmp_path / "masks" / "c.jpg.png", SIZE_PX[::-1])  # made for the upright picture
    photos = photos_of(tmp_path)
    assert masks.lay_out_masks(tmp_path / "masks", photos, tmp_path / "run" / "masks").missing == ()
    expected = np.ones((120, 80), bool)
    expected[:40, 60:] = False
    turned = masks.photo_mask(tmp_path / "run" / "masks", "a.jpg", (80, 120))
    np.testing.assert_array_equal(turned, expected)
    for name, size_px in (("sub/b.jpg", (120, 80)), ("c.jpg", (80, 120))):
        plain = masks.photo_mask(tmp_path / "run" / "masks", name, size_px)
        assert plain is not None
        assert not plain[:20, :40].any()
        assert plain.sum() == plain.size - 800
    assert [name for name, _ in masks.digests(tmp_path / "run" / "masks")] == [
        "a.jpg.png",
        "c.jpg.png",
        "sub/b.jpg.png",
    ]


def test_masks_are_called_as_the_photos_of_the_user_and_lie_as_these_are_kept(tmp_path: Path) -> None:
    put_photo(tmp_path / "photos" / "a.webp")
    put_photo(tmp_path / "photos" / "b.jpg", orientation=6)
    put_mask(tmp_path / "masks" / "a.webp.png")
    put_mask(tmp_path / "masks" / "b.jpg.png")
    photos, target = photos_of(tmp_path, keep_orientation=True), tmp_path / "run" / "masks"
    assert [photo.name for photo in photos] == ["a.png", "b.jpg"]
    assert masks.lay_out_masks(tmp_path / "masks", photos, target).missing == ()
    for photo in photos:
        mask = masks.photo_mask(target, photo.name, SIZE_PX)
        assert mask is not None
        assert not mask[:20, :40].any()


def test_photos_without_a_mask_are_told(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        put_photo(tmp_path / "photos" / name)
    photos, target = photos_of(tmp_path), tmp_path / "run" / "masks"
    (tmp_path / "masks").mkdir()
    with pytest.raises(ValueError, match=r"none of the 1 photos has a mask .* expected a\.jpg\.png there"):
        masks.lay_out_masks(tmp_path / "masks", photos[:1], target)
    put_mask(tmp_path / "masks" / "b.jpg.png")
    put_photo(tmp_path / "photos" / "longer.jpg")
    photos = photos_of(tmp_path)
    missing = masks.lay_out_masks(tmp_path / "masks", photos, target).missing
    assert missing == tuple(photo.name for photo in photos if photo.name != "b.jpg")
    white = masks.photo_mask(target, missing[0], SIZE_PX)
    assert white is not None
    assert white.all()
    assert masks.photo_mask(tmp_path / "masks", missing[0], SIZE_PX) is None
    assert masks.photo_mask(None, "b.jpg", SIZE_PX) is None


def test_masks_beside_the_photos_of_a_dataset_lack_the_name_of_their_folder(tmp_path: Path) -> None:
    for name in ("images/a.jpg", "images/sub/b.jpg"):
        put_photo(tmp_path / "photos" / name)
    put_mask(tmp_path / "photos" / "masks" / "a.jpg.png")
    put_mask(tmp_path / "photos" / "masks" / "sub" / "b.jpg.png")
    mask_dir, target = tmp_path / "photos" / "masks", tmp_path / "run" / "masks"
    images = tmp_path / "run" / "images"
    photos = collect_photos(tmp_path / "photos", images, PhotoOptions(), not_photos=[mask_dir]).photos
    assert [photo.name for photo in photos] == ["images/a.jpg", "images/sub/b.jpg"]
    called = masks.names_beside(tmp_path / "photos", mask_dir, photos)
    assert masks.lay_out_masks(mask_dir, photos, target, called) == masks.LaidOut((), ())
    assert [name for name, _ in masks.digests(target)] == ["images/a.jpg.png", "images/sub/b.jpg.png"]
    elsewhere = masks.names_beside(tmp_path / "photos", tmp_path / "masks", photos)
    assert elsewhere["images/a.jpg"] == ("images/a.jpg", "images/a.jpg")
    put_photo(tmp_path / "photos" / "other" / "c.jpg")  # a second folder, whose photos might have the same names
    photos = collect_photos(tmp_path / "photos", images, PhotoOptions(), not_photos=[mask_dir]).photos
    assert masks.names_beside(tmp_path / "photos", mask_dir, photos)["images/a.jpg"][-1] == "images/a.jpg"


def test_masks_that_hide_all_are_found(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        put_photo(tmp_path / "photos" / name, orientation=6 if name == "b.jpg" else 1)
    put_mask(tmp_path / "masks" / "a.jpg.png")
    put_mask(tmp_path / "masks" / "b.jpg.png", black=(0, 0, *SIZE_PX))
    found = masks.lay_out_masks(tmp_path / "masks", photos_of(tmp_path), tmp_path / "run" / "masks")
    assert found == masks.LaidOut(missing=("c.jpg",), hidden=("b.jpg",))


def test_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    put_photo(tmp_path / "photos" / "a.jpg")
    put_mask(tmp_path / "masks" / "a.jpg.png", (60, 40))
    photos, target = photos_of(tmp_path), tmp_path / "run" / "masks"
    with pytest.raises(ValueError, match=r"a\.jpg\.png has 60 x 40 px, the photo a\.jpg has 120 x 80"):
        masks.lay_out_masks(tmp_path / "masks", photos, target)
    assert not target.exists()
    with pytest.raises(ValueError, match="60 x 40"):
        masks.photo_mask(tmp_path / "masks", "a.jpg", SIZE_PX)
    (tmp_path / "masks" / "a.jpg.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"cannot.*read"):
        masks.lay_out_masks(tmp_path / "masks", photos, target)
