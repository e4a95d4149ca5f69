from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

import bad_photos
from bad_photos import BAD, NAMES, UNUSUAL, FileCase, exif, picture, pixels
from interpose_sfm.colmap.cameras import import_cameras
from interpose_sfm.options import CameraMode, PhotoOptions
from interpose_sfm.photos import collect as collect_module
from interpose_sfm.photos.collect import collect_photos
from interpose_sfm.products import Features, PhotoSet, SkipReason
from interpose_sfm.storage.run_stores import open_stores, store_folder
from photo_folders import (
    OPTIONS,
    collect,
    difference,
    digests,
    files_in,
    names_of,
    put,
    read_by_colmap,
    reasons_of,
    rgb,
)


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey levels, coarse enough for the dots of dithered pictures to vanish."""
    return np.asarray(Image.fromarray(image).convert("L").reduce(8)).ravel()


# ---------------------------------------------------------------- good, bad and unusual files


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> PhotoSet:
    """One folder with every case; no case may disturb another, and no file may be changed."""
    photos = tmp_path_factory.mktemp("zoo") / "photos"
    photos.mkdir()
    for case in BAD + UNUSUAL:
        case.write(photos / case.name)
    before = digests(photos)
    assert len(before) > len(UNUSUAL)
    photo_set = collect(photos)
    assert digests(photos) == before
    assert Image.MAX_IMAGE_PIXELS is not None  # Pillow's settings are as before
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    return photo_set


def case_id(case: FileCase) -> str:
    return case.name


def test_there_are_many_kinds_of_bad_files() -> None:
    assert len({case.name for case in BAD}) >= 30
    assert {case.expected for case in BAD} == set(SkipReason) - {
        SkipReason.DUPLICATE,
        SkipReason.DATASET_FOLDER,
        SkipReason.PANORAMA,
    }


@pytest.mark.parametrize("case", BAD, ids=case_id)
def test_bad_file_is_left_out_with_its_reason(case: FileCase, zoo: PhotoSet) -> None:
    assert case.name not in names_of(zoo)
    (file,) = [file for file in zoo.skipped if file.name == case.name]
    assert file.reason == case.expected
    assert case.hint in file.detail
    assert file.detail.isprintable()
    assert "object at 0x" not in file.detail
    assert not (zoo.image_dir / case.name).exists()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("case", UNUSUAL, ids=case_id)
def test_unusual_file_is_used_and_colmap_sees_what_we_see(case: FileCase, zoo: PhotoSet) -> None:
    assert case.name not in reasons_of(zoo)
    (photo,) = [photo for photo in zoo.photos if (photo.source or photo.name) == case.name]
    assert photo.path.suffix.lower() not in (".webp", ".heic")  # of these COLMAP would lose what it makes
    assert photo.path == zoo.image_dir / photo.name
    ours, colmaps = rgb(photo.path), read_by_colmap(photo.path)
    assert colmaps.shape == (photo.height_px, photo.width_px, 3)
    assert difference(ours, colmaps) < 1
    truth = grey(pixels(case.name, photo.width_px, photo.height_px))
    if case.name != "link.jpg":  # that one shows elsewhere.jpg
        correlation = np.corrcoef(grey(ours), truth)[0, 1]
        assert correlation > 0.97


def test_nothing_else_is_reported_or_written(zoo: PhotoSet) -> None:
    assert sorted(photo.source or photo.name for photo in zoo.photos) == sorted(case.name for case in UNUSUAL)
    assert sorted(reasons_of(zoo)) == sorted(case.name for case in BAD)
    assert files_in(zoo.image_dir) == names_of(zoo)
    assert sorted(path.name for path in zoo.image_dir.parent.iterdir()) == ["images", "images.interpose-photos.json"]


def test_files_that_colmap_reads_are_copied_and_others_are_not(zoo: PhotoSet) -> None:
    photos = zoo.image_dir.parent.parent / "photos"
    sources = {photo.name: photo.source or photo.name for photo in zoo.photos}
    copied = {n for n, source in sources.items() if (photos / source).read_bytes() == (zoo.image_dir / n).read_bytes()}
    assert {
        "plain.jpg",
        "grey.jpg",
        "jpeg_as.png",
        "png_as.jpg",
        "plain.tif",
        "two_pictures.mpo.jpg",
        "link.jpg",
    } <= copied
    assert not any((photos / source).samefile(zoo.image_dir / name) for name, source in sources.items())
    converted = {
        "phone.jpg",
        "heic_as.jpg",
        "ten_bit.jpg",
        "photo.jpg",
        "plain.png",
        "cmyk.jpg",
        "grey_16_bit.png",
        "rgb_16_bit.png",
        "alpha.png",
        "transparent_colour.png",
    }
    assert copied.isdisjoint(converted | {"palette.png", "animated.png", "no_end.png", "jpeg_inside.tif", "cmyk.tif"})


@pytest.mark.parametrize(("name", "bits"), [("grey_16_bit.png", 16), ("grey_16_bit.tif", 16), ("grey_12_bit.tif", 12)])
def test_deep_files_keep_their_upper_eight_bits(name: str, bits: int, zoo: PhotoSet) -> None:
    truth = np.asarray(picture(name).convert("L")).astype(int)
    scale = 2 ** (8 - int(truth.max()).bit_length())  # a dark picture is spread over the eight bits
    assert np.abs(rgb(zoo.image_dir / name)[:, :, 0].astype(int) - truth * scale).max() <= 1


def test_lossless_files_stay_lossless(zoo: PhotoSet) -> None:
    assert np.array_equal(read_by_colmap(zoo.image_dir / "plain.png"), pixels("plain.webp"))
    assert np.array_equal(read_by_colmap(zoo.image_dir / "rgb_16_bit.png"), pixels("rgb_16_bit.png"))


# ---------------------------------------------------------------- names and folders


def test_names_survive_until_the_model(folder: Path, tmp_path: Path) -> None:
    put(folder, *NAMES)
    photo_set = collect(folder)
    names = sorted("trailing.jpg .jpg" if name == "trailing.jpg " else name for name in NAMES)  # that tells no format
    assert names_of(photo_set) == names
    assert photo_set.skipped == ()
    database_path = tmp_path / "database.db"
    import_cameras(database_path, photo_set, CameraMode.AUTO)
    options = pycolmap.FeatureExtractionOptions(num_threads=1)
    pycolmap.extract_features(database_path, photo_set.image_dir, extraction_options=options)
    with pycolmap.Database.open(database_path) as database:
        images = database.read_all_images()
        assert [image.name for image in images] == names  # none added by COLMAP's own listing
        assert all(database.exists_keypoints(image.image_id) for image in images)
        model = pycolmap.Reconstruction()
        model.add_camera_with_trivial_rig(database.read_all_cameras()[0])
    for image in images:
        copy = pycolmap.Image(name=image.name, camera_id=image.camera_id, image_id=image.image_id)
        model.add_image_with_trivial_frame(copy, pycolmap.Rigid3d())
    model.write_binary(tmp_path)
    again = pycolmap.Reconstruction(tmp_path)
    assert sorted(image.name for image in again.images.values()) == names


def test_hidden_files_and_litter_are_passed_over(folder: Path) -> None:
    litter = (".hidden.jpg", "._photo.jpg", ".thumbnails/a.jpg", "__MACOSX/a.jpg", "@eaDir/a.jpg", "sub/.trash/b.jpg")
    put(folder, "photo.jpg", *litter)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"litter")
    photo_set = collect(folder)
    assert names_of(photo_set) == ["photo.jpg"]
    assert photo_set.skipped == ()


def test_sub_folders_can_be_left_out(folder: Path) -> None:
    put(folder, "a.jpg", "sub/b.jpg")
    assert names_of(collect(folder)) == ["a.jpg", "sub/b.jpg"]
    shallow = collect(folder, options=PhotoOptions(recursive=False))
    assert names_of(shallow) == ["a.jpg"]
    assert files_in(shallow.image_dir) == ["a.jpg"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_an_image_list_names_the_photos_that_are_used(encoding: str, folder: Path, tmp_path: Path) -> None:
    put(folder, "a.jpg", "b.jpg", "sub/é b.jpg", "masks/c.jpg")
    picture("w").save(folder / "w.webp")
    (folder / "notes.txt").write_text("not listed")
    (folder / "listed.txt").write_text("listed")
    listed = tmp_path / "list.txt"
    listed.write_text("sub/é b.jpg\r\n\n./a.jpg\nw.webp\nlisted.txt\na.jpg\n", encoding=encoding)
    photo_set = collect(folder, options=PhotoOptions(image_list=listed))
    assert names_of(photo_set) == ["a.jpg", "sub/é b.jpg", "w.png"]
    assert reasons_of(photo_set) == {"listed.txt": SkipReason.NOT_AN_IMAGE}
    assert photo_set.notes[0] == "the image list names 4 files; 3 others are left out"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a.jpg\nc.jpg\nd.jpg\n", r"got 2 names of no file, such as 'c.jpg', expected .* such as 'a.jpg'"),
        (b"\n \n", "got no name, expected one a line"),
        (b"\xff\xfea\x00", "no text in UTF-8"),
    ],
)
def test_an_image_list_that_cannot_be_meant_is_refused(content: bytes, message: str, folder: Path) -> None:
    put(folder, "a.jpg")
    (folder.parent / "list.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        collect(folder, options=PhotoOptions(image_list=folder.parent / "list.txt"))


def test_images_of_photos_whose_names_tell_no_format_get_one(folder: Path) -> None:
    """So that what undistorts them can write them."""
    picture("a").save(folder / "a.txt", "JPEG")
    picture("b").save(folder / "b", "PNG")
    picture("c").save(folder / "c.0001", "WEBP", lossless=True)
    picture("d").save(folder / "a.txt.jpg")
    (folder / "notes.txt").write_text("notes")
    photo_set = collect(folder)
    assert {photo.source or photo.name: photo.name for photo in photo_set.photos} == {
        "a.txt": "a.txt.jpg.jpg",
        "a.txt.jpg": "a.txt.jpg",
        "b": "b.png",
        "c.0001": "c.0001.png",
    }
    kinds = {}
    for photo in photo_set.photos:
        with Image.open(photo.path) as image:
            kinds[photo.name] = image.format
    assert kinds == {"a.txt.jpg.jpg": "JPEG", "a.txt.jpg": "JPEG", "b.png": "PNG", "c.0001.png": "PNG"}
    assert (photo_set.image_dir / "a.txt.jpg.jpg").read_bytes() == (folder / "a.txt").read_bytes()
    assert [file.name for file in photo_set.skipped] == ["notes.txt"]
    assert any("have a name that tells none" in note for note in photo_set.notes)


@pytest.mark.parametrize("listed", ["a.webp", "a.png"])
def test_an_image_list_may_name_files_or_their_images(listed: str, folder: Path) -> None:
    picture("a").save(folder / "a.webp", lossless=True)
    put(folder, "b.jpg")
    (folder.parent / "list.txt").write_text(f"{listed}\n")
    photo_set = collect(folder, options=PhotoOptions(image_list=folder.parent / "list.txt"))
    assert [(photo.name, photo.source) for photo in photo_set.photos] == [("a.png", "a.webp")]


def test_linked_folders_are_entered_once(folder: Path, tmp_path: Path) -> None:
    put(folder, "sub/a.jpg")
    put(tmp_path / "elsewhere", "b.jpg")
    for alias in ("alias", "zz"):  # before and after the folder itself
        (folder / alias).symlink_to("sub")
    (folder / "sub" / "up").symlink_to("..")
    (folder / "outside").symlink_to(tmp_path / "elsewhere")
    photo_set = collect(folder)
    assert names_of(photo_set) == ["outside/b.jpg", "sub/a.jpg"]
    assert photo_set.skipped == ()


def test_photo_folder_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    put(folder, "a.jpg")
    (tmp_path / "link").symlink_to(folder)
    assert names_of(collect(tmp_path / "link")) == ["a.jpg"]


def test_output_folder_inside_the_photo_folder(folder: Path) -> None:
    put(folder, "z.jpg", "sub/b.jpg")
    output = folder / "photos_interpose"
    for _ in range(2):
        photo_set = collect(folder, output)
        put(output, "work/frame.jpg")  # other stages write pictures, too
        assert names_of(photo_set) == ["sub/b.jpg", "z.jpg"]
        assert photo_set.skipped == ()
    with_second_output = collect(folder, folder / "again")
    assert names_of(with_second_output) == ["sub/b.jpg", "z.jpg"]
    assert [file.name for file in with_second_output.skipped] == ["photos_interpose/"]


def test_a_store_inside_the_photo_folder_gives_no_photos(folder: Path) -> None:
    """Which has a file for each of many features while a run is at work there."""
    put(folder, "a.jpg", "z.jpg")
    with open_stores(store_folder(folder / "store", folder)) as stores:
        nothing = np.zeros((0, 2)), np.zeros((0, 8), np.float32), np.zeros(0, np.float32)
        stores.features.put("a.jpg", Features(*nothing, size_px=(4, 3)))
        photo_set = collect(folder)
    assert names_of(photo_set) == ["a.jpg", "z.jpg"]
    assert [file.name for file in photo_set.skipped] == ["store/"]


def test_image_folder_right_inside_the_photo_folder(folder: Path) -> None:
    put(folder, "a.jpg", "z.jpg")
    for _ in range(2):
        photo_set = collect_photos(folder, folder / "images", OPTIONS)
        assert names_of(photo_set) == ["a.jpg", "z.jpg"]
        assert photo_set.skipped == ()


def test_wrong_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    put(folder, "a.jpg")
    with pytest.raises(ValueError, match="does not exist"):
        collect(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="got a file"):
        collect(folder / "a.jpg")
    with pytest.raises(ValueError, match="got a file"):
        collect_photos(folder, folder / "a.jpg", OPTIONS)
    for image_dir in (folder, tmp_path):
        with pytest.raises(ValueError, match="choose another output folder"):
            collect_photos(folder, image_dir, OPTIONS)
    assert files_in(tmp_path) == ["photos/a.jpg"]


def test_no_photo_is_no_error(folder: Path) -> None:
    assert collect(folder) == PhotoSet(folder.parent / "output" / "images", (), ())


def test_options_check_themselves() -> None:
    with pytest.raises(ValueError, match="min-side-px"):
        PhotoOptions(min_side_px=0)
    with pytest.raises(ValueError, match="max-megapixels"):
        PhotoOptions(max_megapixels=float("nan"))
    with pytest.raises(ValueError, match="num-frames-target"):
        PhotoOptions(num_frames_target=-1)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that a user without rights can reach."""
    path = Path(tempfile.mkdtemp())
    (path / "photos").mkdir()
    yield path / "photos"
    shutil.rmtree(path)


def test_files_and_folders_without_permission(public_folder: Path) -> None:
    put(public_folder, "open.jpg", "closed.jpg", "sub/inside.jpg")
    (public_folder / "closed.jpg").chmod(0)
    (public_folder / "sub").chmod(0)
    is_root = os.geteuid() == 0
    if is_root:  # may read everything, so be nobody for a moment
        public_folder.parent.chmod(0o777)
        os.seteuid(65534)
    try:
        photo_set = collect(public_folder)
    finally:
        if is_root:
            os.seteuid(0)
        (public_folder / "sub").chmod(0o700)
    assert names_of(photo_set) == ["open.jpg"]
    assert reasons_of(photo_set) == {"closed.jpg": SkipReason.UNREADABLE, "sub/": SkipReason.UNREADABLE}


# ---------------------------------------------------------------- duplicates


def test_duplicates_are_found_by_their_pixels(folder: Path) -> None:
    put(folder, "a.jpg", "other.jpg")
    shutil.copy(folder / "a.jpg", folder / "b.jpg")
    image = Image.open(folder / "a.jpg")
    image.save(folder / "c.png")
    image.transpose(Image.Transpose.ROTATE_90).save(folder / "d.tif", exif=exif(Orientation=6))
    photo_set = collect(folder)
    assert names_of(photo_set) == ["a.jpg", "other.jpg"]
    assert set(reasons_of(photo_set).values()) == {SkipReason.DUPLICATE}
    details = {file.name: file.detail for file in photo_set.skipped}
    assert details == {
        "b.jpg": "same file as a.jpg",
        "c.png": "same picture as a.jpg",
        "d.tif": "same picture as a.jpg",
    }
    assert files_in(photo_set.image_dir) == ["a.jpg", "other.jpg"]


def test_of_duplicates_the_one_that_knows_most_is_kept(folder: Path) -> None:
    image = picture("a")
    image.save(folder / "a.png")
    image.save(folder / "z.png", exif=exif(Make="Canon", FocalLengthIn35mmFilm=28, FocalLength=5.0))
    put(folder, "backup/IMG_2.jpg", "img_2.jpg")
    shutil.copy(folder / "img_2.jpg", folder / "backup" / "IMG_2.jpg")
    photo_set = collect(folder)
    assert names_of(photo_set) == ["img_2.jpg", "z.png"]


def test_of_a_photo_and_its_copies_the_photo_is_kept(folder: Path) -> None:
    put(folder, "IMG 1.jpg", "b.jpg")
    for name in ("IMG 1 (1).jpg", "Copy of IMG 1.jpg", "IMG 1 - Kopie.jpg"):
        shutil.copy(folder / "IMG 1.jpg", folder / name)
    assert names_of(collect(folder)) == ["IMG 1.jpg", "b.jpg"]


def test_a_folder_that_cannot_be_read_is_told_before_anything_is_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(collect_module.os, "scandir", refuse)
    with pytest.raises(PermissionError, match=str(folder)):
        collect(folder)
    assert not (folder.parent / "output").exists()


def test_nearly_equal_photos_are_no_duplicates(folder: Path) -> None:
    changed = pixels("a").copy()
    changed[-1, -1, -1] ^= 1
    picture("a").save(folder / "a.png")
    Image.fromarray(changed).save(folder / "b.png")
    assert len(collect(folder).photos) == 2


# ---------------------------------------------------------------- cameras


def test_helper_pictures_differ_and_have_no_symmetry() -> None:
    names = [case.name for case in UNUSUAL]
    assert len({pixels(name).tobytes() for name in names}) == len(names)
    image = bad_photos.picture("upright")
    turned = [np.asarray(image.transpose(method).resize(image.size)) for method in Image.Transpose]
    assert min(difference(view, np.asarray(image)) for view in turned) > 20
