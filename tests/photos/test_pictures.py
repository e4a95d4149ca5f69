from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pycolmap
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, PngImagePlugin
from PIL.TiffImagePlugin import IFDRational

import bad_photos
from bad_photos import exif, picture, pixels
from interpose_sfm.options import PhotoOptions
from interpose_sfm.photos import formats
from interpose_sfm.photos.collect import collect_photos
from interpose_sfm.photos.pictures import read_rgb, strict_pillow
from interpose_sfm.products import SkipReason
from photo_folders import (
    OPTIONS,
    collect,
    difference,
    read_by_colmap,
    rgb,
)

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


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif"])
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


def test_threads_leave_pillow_as_it_was() -> None:
    """Also where the first that came in is the first to go."""
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    first, second = strict_pillow(), strict_pillow()
    first.__enter__()
    second.__enter__()
    assert Image.MAX_IMAGE_PIXELS is None
    first.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS is None
    second.__exit__(None, None, None)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


# ---------------------------------------------------------------- deep pictures


def deep_png(values: NDArray[np.integer]) -> bytes:
    """(height, width, channels) of 16 bits as PNG: two channels are grey with alpha, three RGB, four RGBA."""
    colour_type = {2: 4, 3: 2, 4: 6}[values.shape[2]]

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour_type, 0, 0, 0)
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def deep_tiff(values: NDArray[np.integer], order: str, compression: str) -> bytes:
    """(height, width, 3) of 16 bits as TIFF of either byte order, whose strip holds them raw or deflated."""
    height, width = values.shape[:2]
    data = values.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if compression == "deflate" else data
    tags = [
        (256, 4, width), (257, 4, height), (259, 3, {"raw": 1, "deflate": 8}[compression]), (262, 3, 2),
        (273, 4, 200), (277, 3, 3), (278, 4, height), (279, 4, len(data)),
    ]  # fmt: skip
    rows = [(258, 3, 3, struct.pack(f"{order}I", 190))]  # three numbers of bits, which stand behind the folder
    for tag, kind, value in tags:
        rows.append((tag, kind, 1, struct.pack(f"{order}I" if kind == 4 else f"{order}Hxx", value)))
    folder = b"".join(struct.pack(f"{order}HHI", *row[:3]) + row[3] for row in sorted(rows))
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    file = head + struct.pack(f"{order}H", len(rows)) + folder + struct.pack(f"{order}I", 0)
    file = file.ljust(190, b"\0") + struct.pack(f"{order}HHH", 16, 16, 16)
    return file.ljust(200, b"\0") + data


@pytest.mark.parametrize("num_bits", [9, 10, 12, 15])
@pytest.mark.parametrize("kind", ["png", "alpha.png", "little.tif", "big.tif", "deflate.tif"])
def test_colours_that_leave_their_top_bits_unused_are_stretched(num_bits: int, kind: str, folder: Path) -> None:
    truth = pixels("a").astype(np.uint16)
    values = truth << (num_bits - 8) | 1
    assert int(values.max()).bit_length() == num_bits
    opaque = np.full((*truth.shape[:2], 1), 65535, np.uint16)
    files = {
        "png": lambda: deep_png(values),
        "alpha.png": lambda: deep_png(np.concatenate([values, opaque], axis=2)),
        "little.tif": lambda: deep_tiff(values, "<", "raw"),
        "big.tif": lambda: deep_tiff(values, ">", "raw"),
        "deflate.tif": lambda: deep_tiff(values, "<", "deflate"),
    }
    (folder / f"a.{kind}").write_bytes(files[kind]())
    for _ in range(2):  # by decoding, then by the ledger
        photo_set = collect(folder)
        (photo,) = photo_set.photos
        assert np.array_equal(read_by_colmap(photo.path), truth)
        (note,) = photo_set.notes
        assert f"1 of the photos have 16 bits a channel and use {num_bits} of them, such as a.{kind}" in note


def test_pictures_that_use_all_their_bits_are_not_stretched(folder: Path) -> None:
    truth = pixels("a").astype(np.uint16)
    (folder / "a.png").write_bytes(deep_png(truth * 257))
    (folder / "b.tif").write_bytes(deep_tiff(truth[::-1] * 257, "<", "raw"))
    photo_set = collect(folder)
    assert np.array_equal(read_by_colmap(photo_set.photos[0].path), truth)
    assert np.array_equal(read_by_colmap(photo_set.photos[1].path), truth[::-1])
    assert photo_set.notes == ()


def test_grey_pictures_that_are_stretched_are_told(folder: Path) -> None:
    for name, num_bits in (("a.png", 12), ("b.png", 10), ("c.png", 16)):
        grey = np.asarray(picture(name).convert("L")).astype(np.uint16)
        grey[0, 0] = 255
        Image.fromarray(grey << (num_bits - 8)).save(folder / name)
    (note,) = collect(folder).notes
    assert "2 of the photos have 16 bits a channel and use 10 or 12 of them, such as a.png" in note


# ---------------------------------------------------------------- names


def test_photos_of_formats_that_colmap_does_not_write_get_names_that_say_what_they_are(folder: Path) -> None:
    picture("a").save(folder / "a.webp", lossless=True)
    picture("b").save(folder / "B.WebP", lossless=True)
    picture("c").save(folder / "c.webp", lossless=True)
    picture("other").save(folder / "c.png")
    picture("jpeg").save(folder / "jpeg.heic", "JPEG")
    picture("tiff").save(folder / "tiff.heic", "TIFF")
    photo_set = collect(folder)
    written = {"a.png": "a.webp", "B.png": "B.WebP", "c.webp.png": "c.webp", "jpeg.jpg": "jpeg.heic"}
    written |= {"tiff.jpg": "tiff.heic"}
    assert {photo.name: photo.source for photo in photo_set.photos} == {**written, "c.png": ""}
    for name in written:
        with Image.open(photo_set.image_dir / name) as image:
            assert image.format == {"png": "PNG", "jpg": "JPEG"}[name.rpartition(".")[2]]
    assert (photo_set.image_dir / "jpeg.jpg").read_bytes() == (folder / "jpeg.heic").read_bytes()
    assert np.array_equal(read_by_colmap(photo_set.image_dir / "c.webp.png"), pixels("c"))
    (note,) = photo_set.notes
    assert "5 of the photos are in a format that COLMAP does not write" in note
    assert "such as B.png for B.WebP" in note
    assert photo_set.image_name("c.webp") == "c.webp.png"
    assert photo_set.image_name("c.png") == "c.png"


def test_colmap_undistorts_photos_that_were_webp(folder: Path, tmp_path: Path) -> None:
    picture("a").save(folder / "a.webp", lossless=True)
    (photo,) = collect(folder).photos
    camera = pycolmap.Camera.create_from_model_name(1, "SIMPLE_RADIAL", 150.0, photo.width_px, photo.height_px)
    camera.params = [*camera.params[:3], 0.05]
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(camera)
    image = pycolmap.Image(name=photo.name, camera_id=1, image_id=1)
    model.add_image_with_trivial_frame(image, pycolmap.Rigid3d())
    (tmp_path / "model").mkdir()
    model.write(tmp_path / "model")
    pycolmap.undistort_images(tmp_path / "flat", tmp_path / "model", photo.path.parent)
    flat = read_by_colmap(tmp_path / "flat" / "images" / photo.name)
    assert min(flat.shape[:2]) > 80


def test_a_database_keeps_the_names_of_its_photos(folder: Path) -> None:
    picture("a").save(folder / "a.webp", lossless=True)
    (photo,) = collect_photos(folder, folder.parent / "output" / "images", OPTIONS, names_to_keep=["a"]).photos
    assert (photo.name, photo.source) == ("a.webp", "")


# ---------------------------------------------------------------- orientation


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_photos_can_stay_turned_as_their_files_store_them(orientation: int, suffix: str, folder: Path) -> None:
    method = STORED[orientation]
    stored = picture("upright") if method is None else picture("upright").transpose(method)
    options = {"jpg": {"quality": 100}, "webp": {"lossless": True}}.get(suffix, {})
    stored.save(folder / f"a.{suffix}", exif=exif(Orientation=orientation, FocalLengthIn35mmFilm=30), **options)
    (photo,) = collect(folder, options=PhotoOptions(keep_orientation=True)).photos
    assert (photo.width_px, photo.height_px) == stored.size
    assert photo.orientation == 1  # not turned
    if suffix in ("jpg", "png"):
        assert photo.focal_px == pytest.approx(30 / 43.27 * 200)
    assert difference(read_by_colmap(photo.path), np.asarray(stored)) < 2
    assert difference(read_rgb(photo.path), np.asarray(stored)) < 2  # what learned features see
    if suffix == "jpg":
        assert photo.path.read_bytes() == (folder / f"a.{suffix}").read_bytes()
    (upright,) = collect(folder).photos  # with the other option the same output folder is filled anew
    assert upright.orientation == orientation
    assert difference(read_by_colmap(upright.path), np.asarray(picture("upright"))) < 2


# ---------------------------------------------------------------- HEIC


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("keep_orientation", [False, True])
def test_heic_is_read_as_a_phone_means_it(orientation: int, keep_orientation: bool, folder: Path) -> None:
    """The file itself says how it is to be turned, which decoders do in any case."""
    tags = exif(Make="Apple", FocalLength=5.0, FocalLengthIn35mmFilm=26, Orientation=orientation)
    method = STORED[orientation]
    stored = picture("upright") if method is None else picture("upright").transpose(method)
    (folder / "IMG_1.HEIC").write_bytes(bad_photos.encoded(stored, "HEIF", quality=95, exif=tags.tobytes()))
    (photo,) = collect(folder, options=PhotoOptions(keep_orientation=keep_orientation)).photos
    assert (photo.name, photo.source, photo.make) == ("IMG_1.jpg", "IMG_1.HEIC", "Apple")
    assert (photo.width_px, photo.height_px) == picture("upright").size
    assert photo.focal_px == pytest.approx(26 / 43.27 * 200)
    assert difference(read_by_colmap(photo.path), np.asarray(picture("upright"))) < 6
    with Image.open(photo.path) as image:
        assert image.format == "JPEG"
        assert image.getexif().get(0x0112, 1) == 1


def test_heic_without_its_decoder_is_told_with_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.heic").write_bytes(bad_photos.encoded(picture("a"), "HEIF"))
    (folder / "b.heic").write_bytes(bad_photos.encoded(picture("b"), "HEIF"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    photo_set = collect(folder)
    assert "left out: 2 files such as a.heic: not an image (no decoder for HEIC" in photo_set.lack
    assert "pip install pillow-heif" in photo_set.lack


def test_avif_without_its_decoder_is_told_with_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture("a").save(folder / "a.avif")
    monkeypatch.setattr(formats.features, "check", lambda name: False)
    (file,) = collect(folder).skipped
    assert "no decoder for AVIF: pip install 'pillow>=11.3'" in file.detail


def test_heic_is_not_decoded_where_its_header_is_beyond_the_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.heic").write_bytes(bad_photos.encoded(picture("a", 400, 300), "HEIF"))
    monkeypatch.setattr(pillow_heif.HeifImageFile, "load", lambda _: pytest.fail("it was decoded"))
    (file,) = collect(folder, options=PhotoOptions(max_megapixels=0.1)).skipped
    assert file.reason is SkipReason.TOO_LARGE
    assert "400 x 300" in file.detail


def test_no_plugin_is_registered_for_the_whole_process(folder: Path) -> None:
    """In a process of its own: imageio, which others bring, does register one."""
    (folder / "a.heic").write_bytes(bad_photos.encoded(picture("a"), "HEIF"))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from PIL import Image\n"
        "from interpose_sfm.options import PhotoOptions\n"
        "from interpose_sfm.photos.collect import collect_photos\n"
        "photos = collect_photos(Path(sys.argv[1]), Path(sys.argv[2]), PhotoOptions()).photos\n"
        "Image.init()\n"
        "print(len(photos), 'HEIF' in Image.OPEN)\n"
    )
    command = [sys.executable, "-c", code, str(folder), str(folder.parent / "images")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["1", "False"]


# ---------------------------------------------------------------- panoramas


def xmp(form: str, projection: str) -> bytes:
    """As Google's GPano has it, as an attribute or as an element."""
    inner = {
        "attribute": f'<rdf:Description GPano:ProjectionType="{projection}"/>',
        "element": f"<rdf:Description><GPano:ProjectionType>{projection}</GPano:ProjectionType></rdf:Description>",
    }[form]
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>{inner}</rdf:RDF></x:xmpmeta>'.encode()


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "heic"])
@pytest.mark.parametrize("form", ["attribute", "element"])
def test_360_degree_photos_are_refused_with_the_way_to_convert_them(form: str, suffix: str, folder: Path) -> None:
    image, packet = picture("a", 400, 200), xmp(form, "equirectangular")
    path = folder / f"a.{suffix}"
    if suffix == "png":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet.decode())
        image.save(path, pnginfo=text)
    elif suffix == "tif":
        image.save(path, tiffinfo={700: packet})
    elif suffix == "heic":
        path.write_bytes(bad_photos.encoded(image, "HEIF", xmp=packet))
    else:
        image.save(path, xmp=packet)
    photo_set = collect(folder)
    (file,) = photo_set.skipped
    assert file.reason is SkipReason.PANORAMA
    assert "cut it into perspective views first" in file.detail
    assert "360-degree photo (its projection is equirectangular" in photo_set.lack


@pytest.mark.parametrize("packet", [xmp("attribute", "rectilinear"), b"", b"<x>equirectangular</x>"])
def test_photos_twice_as_wide_as_high_are_used_unless_they_say_so(packet: bytes, folder: Path) -> None:
    picture("a", 400, 200).save(folder / "a.jpg", xmp=packet)
    assert len(collect(folder).photos) == 1
