from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import IFDRational

import bad_photos
from bad_photos import BAD, NAMES, UNUSUAL, FileCase, exif, picture, pixels
from interpose_sfm.colmap.cameras import camera_groups, import_cameras
from interpose_sfm.options import CameraMode, PhotoOptions
from interpose_sfm.photos.collect import collect_photos
from interpose_sfm.products import Photo, PhotoSet, SkipReason
from paths import ROOT

OPTIONS = PhotoOptions()


def collect(folder: Path, output: Path | None = None, options: PhotoOptions = OPTIONS) -> PhotoSet:
    return collect_photos(folder, (output or folder.parent / "output") / "images", options)


def put(folder: Path, *names: str, **options: object) -> None:
    """JPEG photos with the pictures that belong to their names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(name).save(folder / name, "JPEG", quality=95, **options)


def names_of(photo_set: PhotoSet) -> list[str]:
    return [photo.name for photo in photo_set.photos]


def reasons_of(photo_set: PhotoSet) -> dict[str, SkipReason]:
    return {file.name: file.reason for file in photo_set.skipped}


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def digests(folder: Path) -> dict[str, str]:
    """Content of all regular files, to see that none was touched."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size < 1e8]
    return {os.fspath(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def read_by_colmap(path: Path) -> NDArray[np.uint8]:
    bitmap = pycolmap.Bitmap.read(path, as_rgb=True)
    assert bitmap is not None, path
    return np.asarray(bitmap.to_array())


def rgb(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey levels, coarse enough for the dots of dithered pictures to vanish."""
    return np.asarray(Image.fromarray(image).convert("L").reduce(8)).ravel()


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Mean absolute difference in grey levels."""
    assert a.shape == b.shape
    return float(np.abs(a.astype(float) - b).mean())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    return path


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
    assert {case.expected for case in BAD} == set(SkipReason) - {SkipReason.DUPLICATE}


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
    (photo,) = [photo for photo in zoo.photos if photo.name == case.name]
    assert photo.path == zoo.image_dir / case.name
    ours, colmaps = rgb(photo.path), read_by_colmap(photo.path)
    assert colmaps.shape == (photo.height_px, photo.width_px, 3)
    assert difference(ours, colmaps) < 1
    truth = grey(pixels(case.name, photo.width_px, photo.height_px))
    if case.name != "link.jpg":  # that one shows elsewhere.jpg
        correlation = np.corrcoef(grey(ours), truth)[0, 1]
        assert correlation > 0.97


def test_nothing_else_is_reported_or_written(zoo: PhotoSet) -> None:
    assert names_of(zoo) == sorted(case.name for case in UNUSUAL)
    assert sorted(reasons_of(zoo)) == sorted(case.name for case in BAD)
    assert files_in(zoo.image_dir) == names_of(zoo)
    assert sorted(path.name for path in zoo.image_dir.parent.iterdir()) == ["images", "images.interpose-photos.json"]


def test_files_that_colmap_reads_are_linked_and_others_are_not(zoo: PhotoSet) -> None:
    photos = zoo.image_dir.parent.parent / "photos"
    linked = {name for name in names_of(zoo) if (photos / name).samefile(zoo.image_dir / name)}
    assert {"plain.jpg", "grey.jpg", "jpeg_as.png", "png_as.jpg", "plain.tif", "two_pictures.mpo", "link.jpg"} <= linked
    converted = {"plain.webp", "cmyk.jpg", "grey_16_bit.png", "rgb_16_bit.png", "alpha.png", "transparent_colour.png"}
    assert linked.isdisjoint(converted | {"palette.png", "animated.png", "no_end.png", "jpeg_inside.tif", "cmyk.tif"})


@pytest.mark.parametrize(("name", "bits"), [("grey_16_bit.png", 16), ("grey_16_bit.tif", 16), ("grey_12_bit.tif", 12)])
def test_deep_files_keep_their_upper_eight_bits(name: str, bits: int, zoo: PhotoSet) -> None:
    truth = np.asarray(picture(name).convert("L")).astype(int)
    scale = 2 ** (8 - int(truth.max()).bit_length())  # a dark picture is spread over the eight bits
    assert np.abs(rgb(zoo.image_dir / name)[:, :, 0].astype(int) - truth * scale).max() <= 1


def test_lossless_files_stay_lossless(zoo: PhotoSet) -> None:
    assert np.array_equal(read_by_colmap(zoo.image_dir / "plain.webp"), pixels("plain.webp"))
    assert np.array_equal(read_by_colmap(zoo.image_dir / "rgb_16_bit.png"), pixels("rgb_16_bit.png"))


# ---------------------------------------------------------------- names and folders


def test_names_survive_until_the_model(folder: Path, tmp_path: Path) -> None:
    put(folder, *NAMES)
    photo_set = collect(folder)
    assert names_of(photo_set) == sorted(NAMES)
    assert photo_set.skipped == ()
    database_path = tmp_path / "database.db"
    import_cameras(database_path, photo_set, CameraMode.AUTO)
    options = pycolmap.FeatureExtractionOptions(num_threads=1)
    pycolmap.extract_features(database_path, photo_set.image_dir, extraction_options=options)
    with pycolmap.Database.open(database_path) as database:
        images = database.read_all_images()
        assert [image.name for image in images] == sorted(NAMES)  # none added by COLMAP's own listing
        assert all(database.exists_keypoints(image.image_id) for image in images)
        model = pycolmap.Reconstruction()
        model.add_camera_with_trivial_rig(database.read_all_cameras()[0])
    for image in images:
        copy = pycolmap.Image(name=image.name, camera_id=image.camera_id, image_id=image.image_id)
        model.add_image_with_trivial_frame(copy, pycolmap.Rigid3d())
    model.write_binary(tmp_path)
    again = pycolmap.Reconstruction(tmp_path)
    assert sorted(image.name for image in again.images.values()) == sorted(NAMES)


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
    with pytest.raises(ValueError, match="min_side_px"):
        PhotoOptions(min_side_px=0)
    with pytest.raises(ValueError, match="max_megapixels"):
        PhotoOptions(max_megapixels=float("nan"))


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


def test_nearly_equal_photos_are_no_duplicates(folder: Path) -> None:
    changed = pixels("a").copy()
    changed[-1, -1, -1] ^= 1
    picture("a").save(folder / "a.png")
    Image.fromarray(changed).save(folder / "b.png")
    assert len(collect(folder).photos) == 2


# ---------------------------------------------------------------- EXIF

STORED = {  # EXIF orientation -> how a camera stores an upright picture
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_photos_end_up_upright(orientation: int, suffix: str, folder: Path) -> None:
    upright = picture("upright")
    method = STORED[orientation]
    stored = upright if method is None else upright.transpose(method)
    options = {"jpg": {"quality": 100}, "webp": {"lossless": True}}.get(suffix, {})
    tags = exif(Orientation=orientation, Make="Canon", FocalLength=10.0, FocalLengthIn35mmFilm=30)
    stored.save(folder / f"a.{suffix}", exif=tags, **options)
    (photo,) = collect(folder).photos
    assert (photo.width_px, photo.height_px) == upright.size
    camera = pycolmap.infer_camera_from_image(photo.path)
    assert (camera.width, camera.height) == upright.size
    assert difference(read_by_colmap(photo.path), np.asarray(upright)) < 2
    assert difference(rgb(photo.path), np.asarray(upright)) < 2
    assert Image.open(photo.path).getexif().get(0x0112, 1) == 1
    if suffix in ("jpg", "png"):  # a camera that COLMAP finds in the file, too
        assert photo.focal_px == pytest.approx(30 / 43.27 * 200)
        assert camera.focal_length == pytest.approx(photo.focal_px)


D90 = {"Make": "Nikon", "Model": "D90"}
FOCALS = (
    ("35 mm equivalent", {"FocalLengthIn35mmFilm": 28}, 28 / 43.27 * 500),
    ("35 mm before others", {"FocalLengthIn35mmFilm": 28, "FocalLength": 99, "Model": "D90"}, 28 / 43.27 * 500),
    ("per inch", {"FocalLength": 10, "FocalPlaneXResolution": 1000, "FocalPlaneResolutionUnit": 2}, 10 / 25.4 * 1000),
    ("per cm", {"FocalLength": 10, "FocalPlaneXResolution": 400, "FocalPlaneResolutionUnit": 3}, 400),
    ("per mm", {"FocalLength": 10, "FocalPlaneXResolution": 40, "FocalPlaneResolutionUnit": 4}, 400),
    ("per um", {"FocalLength": 10, "FocalPlaneXResolution": IFDRational(4, 100), "FocalPlaneResolutionUnit": 5}, 400),
    ("no unit", {"FocalLength": 10, "FocalPlaneXResolution": 1000}, None),
    ("unknown unit", {"FocalLength": 10, "FocalPlaneXResolution": 1000, "FocalPlaneResolutionUnit": 9}, None),
    ("known sensor", {"Make": "Canon", "Model": "Canon EOS 5D Mark II", "FocalLength": 50}, 50 / 36 * 400),
    ("untidy sensor", {"Make": "NIKON CORPORATION  ", "Model": "NIKON D90\0\0", "FocalLength": 20}, 20 / 23.6 * 400),
    ("zero equivalent", {**D90, "FocalLengthIn35mmFilm": 0, "FocalLength": 20}, 20 / 23.6 * 400),
    ("unknown sensor", {"Make": "Box", "Model": "Pinhole", "FocalLength": 50}, None),
    ("length alone", {"FocalLength": 50}, None),
    ("nothing", {"Make": "Canon"}, None),
)  # fmt: skip


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("tags", "expected"), [row[1:] for row in FOCALS], ids=[row[0] for row in FOCALS])
def test_focal_length_agrees_with_colmap(
    tags: dict[str, object], expected: float | None, orientation: int, folder: Path
) -> None:
    image = picture("a", 400, 300)
    image.save(folder / "a.jpg", exif=exif(Orientation=orientation, **tags))
    (photo,) = collect(folder).photos
    assert photo.focal_px == (None if expected is None else pytest.approx(expected, rel=1e-4))
    for path in (folder / "a.jpg", photo.path):  # the user's file, and what we made of it
        camera = pycolmap.infer_camera_from_image(path)
        assert camera.has_prior_focal_length == (expected is not None)
        assert camera.focal_length == pytest.approx(expected or 1.2 * 400, rel=1e-4)


@pytest.mark.parametrize(
    "tags",
    [
        {"FocalLength": IFDRational(5, 0), "FocalPlaneXResolution": 1000, "FocalPlaneResolutionUnit": 2},
        {"FocalLength": 10, "FocalPlaneXResolution": IFDRational(0, 0), "FocalPlaneResolutionUnit": 2},
        {"FocalLengthIn35mmFilm": 65535},
        {"FocalLength": 10, "FocalPlaneXResolution": 30, "FocalPlaneResolutionUnit": 2},
        {**D90, "FocalLength": 0},
        {"Make": "Canon", "Model": "Canon EOS 5D Mark II", "FocalLength": 1_000_000},
    ],
)
def test_absurd_focal_length_is_none(tags: dict[str, object], folder: Path) -> None:
    picture("a").save(folder / "a.jpg", exif=exif(**tags))
    (photo,) = collect(folder).photos
    assert photo.focal_px is None


def test_make_and_model_are_clean(folder: Path) -> None:
    tags = exif(Make="  Canon Inc.\0garbage", Model="EOS\t5D\n  Mark\x07 II ", FocalLengthIn35mmFilm=50)
    picture("a").save(folder / "a.jpg", exif=tags)
    (photo,) = collect(folder).photos
    assert (photo.make, photo.model) == ("Canon Inc.", "EOS 5D Mark II")


def test_digest_is_that_of_the_original(folder: Path) -> None:
    picture("a").save(folder / "a.webp")
    (photo,) = collect(folder).photos
    assert photo.sha256 == hashlib.sha256((folder / "a.webp").read_bytes()).hexdigest()


# ---------------------------------------------------------------- the image folder


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {name: ((folder / name).stat().st_ino, (folder / name).stat().st_mtime_ns) for name in files_in(folder)}


def mixed_photos(folder: Path) -> None:
    put(folder, "a.jpg", "sub/b.jpg")
    picture("c").save(folder / "sub" / "c.webp")
    put(folder, "d.jpg", exif=exif(Orientation=6))
    (folder / "notes.txt").write_text("notes")


def test_second_run_writes_nothing(folder: Path) -> None:
    mixed_photos(folder)
    first = collect(folder)
    before = stamps(first.image_dir)
    assert len(before) == 4
    assert collect(folder) == first
    assert stamps(first.image_dir) == before


def test_unchanged_files_are_not_read_again(folder: Path) -> None:
    put(folder, "a.jpg", "b.jpg")
    first = collect(folder)
    status = (folder / "a.jpg").stat()
    (folder / "a.jpg").write_bytes(b"x" * status.st_size)  # would be no image, if anybody looked
    os.utime(folder / "a.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert collect(folder) == first
    os.utime(folder / "a.jpg", ns=(0, 0))
    assert reasons_of(collect(folder)) == {"a.jpg": SkipReason.NOT_AN_IMAGE}
    assert files_in(first.image_dir) == ["b.jpg"]


def test_changed_and_vanished_photos(folder: Path) -> None:
    mixed_photos(folder)
    first = collect(folder)
    (folder / "a.jpg").unlink()
    (folder / "sub" / "c.webp").unlink()
    (folder / "sub" / "b.jpg").unlink()
    picture("new").save(folder / "d.jpg", quality=95)
    second = collect(folder)
    assert names_of(second) == ["d.jpg"]
    assert second.photos[0].sha256 != first.photos[1].sha256
    assert difference(read_by_colmap(second.photos[0].path), pixels("new")) < 3
    assert [path.name for path in second.image_dir.iterdir()] == ["d.jpg"]  # the empty folder is gone, too


def test_damaged_or_missing_conversions_are_made_again(folder: Path) -> None:
    picture("a").save(folder / "a.webp", lossless=True)
    picture("b").save(folder / "b.webp", lossless=True)
    first = collect(folder)
    (first.image_dir / "a.webp").unlink()
    (first.image_dir / "b.webp").write_bytes(b"cut short")
    assert names_of(collect(folder)) == ["a.webp", "b.webp"]
    for name in ("a", "b"):
        assert np.array_equal(read_by_colmap(first.image_dir / f"{name}.webp"), pixels(name))


def test_file_becomes_folder_and_back(folder: Path) -> None:
    for names in (["x.jpg"], ["x.jpg/inside.jpg"], ["x.jpg"]):
        shutil.rmtree(folder)
        put(folder, *names)
        photo_set = collect(folder)
        assert names_of(photo_set) == names
        assert files_in(photo_set.image_dir) == names


def test_other_options_are_applied_to_known_photos(folder: Path) -> None:
    put(folder, "a.jpg")
    assert names_of(collect(folder)) == ["a.jpg"]
    strict = collect(folder, options=PhotoOptions(min_side_px=121))
    assert reasons_of(strict) == {"a.jpg": SkipReason.TOO_SMALL}
    assert names_of(collect(folder, options=PhotoOptions(min_side_px=120))) == ["a.jpg"]
    small = collect(folder, options=PhotoOptions(max_megapixels=0.0191))  # 160 x 120 = 19200
    assert reasons_of(small) == {"a.jpg": SkipReason.TOO_LARGE}


@pytest.mark.parametrize("number", [1, 3, 5])
def test_interrupted_run_is_continued(number: int, folder: Path) -> None:
    mixed_photos(folder)
    shutil.copy(folder / "sub" / "c.webp", folder / "z.webp")
    expected = collect(folder, folder.parent / "undisturbed")

    def interrupt(done: int, total: int) -> None:
        if done == number:
            raise KeyboardInterrupt

    image_dir = folder.parent / "output" / "images"
    with pytest.raises(KeyboardInterrupt):
        collect_photos(folder, image_dir, OPTIONS, interrupt)
    photo_set = collect(folder)
    assert [photo.sha256 for photo in photo_set.photos] == [photo.sha256 for photo in expected.photos]
    assert photo_set.skipped == expected.skipped
    assert files_in(image_dir) == files_in(expected.image_dir)
    assert {name: (image_dir / name).read_bytes() for name in files_in(image_dir)} == {
        name: (expected.image_dir / name).read_bytes() for name in files_in(expected.image_dir)
    }
    assert len(list(image_dir.parent.iterdir())) == 2  # the images and the ledger


def kill(folder: Path, image_dir: Path, number: int) -> None:
    """Run the stage in a process that dies after some files."""
    script = (
        "import os, sys; from pathlib import Path\n"
        "from interpose_sfm.options import PhotoOptions; from interpose_sfm.photos.collect import collect_photos\n"
        f"def kill(done, total): done == {number} and os._exit(9)\n"
        "collect_photos(Path(sys.argv[1]), Path(sys.argv[2]), PhotoOptions(), kill)"
    )
    result = subprocess.run([sys.executable, "-c", script, folder, image_dir], cwd=ROOT, check=False)
    assert result.returncode == 9


def test_killed_run_is_not_started_over(folder: Path) -> None:
    for index in range(60):
        bad_photos.picture(str(index), 80, 64).save(folder / f"{index:02}.webp", lossless=True)
    image_dir = folder.parent / "output" / "images"
    kill(folder, image_dir, 55)
    before = stamps(image_dir)
    assert names_of(collect(folder)) == files_in(folder)
    after = stamps(image_dir)
    first_fifty = [f"{index:02}.webp" for index in range(50)]
    assert [before[name] for name in first_fifty] == [after[name] for name in first_fifty]


def test_killed_run_leaves_no_file_of_unknown_origin(folder: Path) -> None:
    """Photos that were already placed and are gone from the folder when the next run starts."""
    mixed_photos(folder)
    image_dir = folder.parent / "output" / "images"
    kill(folder, image_dir, 3)
    assert len(files_in(image_dir)) >= 2
    for path in folder.rglob("*.jpg"):
        path.unlink()
    assert names_of(collect(folder)) == ["sub/c.webp"]
    assert files_in(image_dir) == ["sub/c.webp"]


def test_files_of_others_are_never_touched(folder: Path) -> None:
    put(folder, "a.jpg", "sub/b.jpg")
    image_dir = collect(folder).image_dir
    put(image_dir, "mine.jpg", "sub/mine.jpg")
    shutil.rmtree(folder / "sub")
    collect(folder)
    assert files_in(image_dir) == ["a.jpg", "mine.jpg", "sub/mine.jpg"]
    put(folder, "mine.jpg")
    before = digests(image_dir)
    with pytest.raises(ValueError, match=r"mine\.jpg is in the way"):
        collect(folder)
    assert digests(image_dir) == before


def test_originals_survive_when_a_link_becomes_a_conversion(folder: Path) -> None:
    """The target is a hard link to the original: writing into it would destroy the photo."""
    put(folder, "a.jpg")
    collect(folder)
    other_name = folder.parent / "kept.jpg"
    os.link(folder / "a.jpg", other_name)
    before = other_name.read_bytes()
    (folder / "a.jpg").unlink()
    picture("a").save(folder / "a.jpg", "WEBP")
    photo_set = collect(folder)
    assert other_name.read_bytes() == before
    assert read_by_colmap(photo_set.photos[0].path).shape == (120, 160, 3)


def test_lost_ledger_and_damaged_ledger(folder: Path) -> None:
    put(folder, "a.jpg")
    image_dir = collect(folder).image_dir
    ledger = image_dir.parent / "images.interpose-photos.json"
    ledger.unlink()
    assert names_of(collect(folder)) == ["a.jpg"]  # a link to the photo is no file of somebody else
    for content in ("{", "[]", '{"names": ["a.jpg"]}', json.dumps({"names": [], "key": {}, "records": {"a": 1}})):
        ledger.write_text(content)
        if "key" in content:
            assert names_of(collect(folder)) == ["a.jpg"]  # made with other options
            continue
        with pytest.raises(ValueError, match="is damaged"):
            collect(folder)


def test_photos_are_copied_where_they_cannot_be_linked(folder: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == folder.stat().st_dev:
        pytest.skip("needs a second file system")
    put(folder, "a.jpg")
    with tempfile.TemporaryDirectory(dir=memory) as output:
        first = collect(folder, Path(output))
        assert first.photos[0].path.read_bytes() == (folder / "a.jpg").read_bytes()
        before = stamps(first.image_dir)
        assert collect(folder, Path(output)) == first
        assert stamps(first.image_dir) == before


def test_path_too_long_for_the_output(folder: Path) -> None:
    put(folder, "a.jpg", "/".join(["x" * 200] * 11) + "/b.jpg")
    output = folder.parent / "/".join(["y" * 200] * 10)
    photo_set = collect(folder, output)
    assert names_of(photo_set) == ["a.jpg"]
    assert list(reasons_of(photo_set).values()) == [SkipReason.BAD_NAME]


def test_progress_and_determinism(folder: Path, tmp_path: Path) -> None:
    mixed_photos(folder)
    calls: list[tuple[int, int]] = []
    first = collect_photos(folder, tmp_path / "o1" / "images", OPTIONS, lambda *call: calls.append(call))
    assert calls == [(index, 5) for index in range(1, 6)]
    second = collect(folder, tmp_path / "o2")
    assert digests(first.image_dir).values() != {}
    assert list(digests(first.image_dir).values()) == list(digests(second.image_dir).values())


def test_importing_loads_no_native_library() -> None:
    code = (
        "import sys, interpose_sfm.photos.collect\n"
        "print(sorted({'pycolmap', 'torch', 'cv2', 'h5py'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# ---------------------------------------------------------------- cameras


def photo(name: str, size: tuple[int, int] = (400, 300), focal_px: float | None = None, make: str = "") -> Photo:
    return Photo(name, Path(name), *size, focal_px=focal_px, make=make, model="", sha256="")


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


def test_helper_pictures_differ_and_have_no_symmetry() -> None:
    names = [case.name for case in UNUSUAL]
    assert len({pixels(name).tobytes() for name in names}) == len(names)
    image = bad_photos.picture("upright")
    turned = [np.asarray(image.transpose(method).resize(image.size)) for method in Image.Transpose]
    assert min(difference(view, np.asarray(image)) for view in turned) > 20
