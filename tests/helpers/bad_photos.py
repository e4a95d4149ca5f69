"""Unusual and broken files, each with what the photo stage must say of it. Every picture differs from all others."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image

from interpose_sfm.products import SkipReason

WIDTH_PX, HEIGHT_PX = 160, 120


@dataclass(frozen=True)
class FileCase:
    """One file of the collection.

    Attributes:
        name: Path below the photo folder.
        write: Makes the file.
        expected: The reason for which it must be left out; None if it must be used.
        hint: A word that the explanation must contain.
    """

    name: str
    write: Callable[[Path], object]
    expected: SkipReason | None = None
    hint: str = ""


def pixels(name: str, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> NDArray[np.uint8]:
    """A smooth random picture that depends on the name; no symmetry, so that every orientation looks different."""
    rng = np.random.default_rng(zlib.crc32(name.encode("utf-8", "surrogateescape")))
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width_px, height_px), Image.Resampling.BICUBIC))


def picture(name: str, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> Image.Image:
    return Image.fromarray(pixels(name, width_px, height_px))


def encoded(image: Image.Image, container: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if container == "HEIF":  # without a plugin, which would be one of the whole process
        pillow_heif.from_pillow(image).save(buffer, **options)
    else:
        image.save(buffer, container, **options)
    return buffer.getvalue()


def save(container: str, mode: str = "RGB", **options: Any) -> Callable[[Path], None]:
    """Write the picture that belongs to the path, in some mode and format."""

    def write(path: Path) -> None:
        path.write_bytes(encoded(picture(path.name).convert(mode), container, **options))

    return write


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def damaged(container: str, damage: Callable[[bytes], bytes], **options: Any) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(damage(encoded(picture(path.name), container, **options)))


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def zero_tail(data: bytes) -> bytes:
    return half(data) + bytes(len(data) - len(data) // 2)


def noise_in_the_middle(data: bytes) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, 64, dtype=np.uint8).tobytes()
    return data[: len(data) // 2] + noise + data[len(data) // 2 + 64 :]


def sized(width_px: int, height_px: int) -> Callable[[Path], object]:
    return lambda path: picture(path.name, width_px, height_px).save(path, "PNG")


def png_bomb(path: Path) -> None:
    """A file of a few hundred bytes that says it is 60000 x 60000 px."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def huge_file(path: Path) -> None:
    """Three gigabytes on paper, none on disk."""
    with path.open("wb") as file:
        file.write(b"\xff\xd8\xff\xe0")
        file.truncate(3_000_000_000)


def grey_16_bit(container: str, bits: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        grey = np.asarray(picture(path.name).convert("L")).astype(np.uint16)
        Image.fromarray(grey << (bits - 8)).save(path, container)

    return write


def rgb_16_bit_png(path: Path) -> None:
    rows = pixels(path.name).astype(">u2") * 257
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", WIDTH_PX, HEIGHT_PX, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    )


def ten_bit_heic(path: Path) -> None:
    values = pixels(path.name).astype(np.uint16) << 8
    file = pillow_heif.from_bytes(mode="RGB;16", size=(WIDTH_PX, HEIGHT_PX), data=values.tobytes())
    file.save(path, quality=95)


def several_pages(container: str, **options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        pages = [picture(f"{path.name} page {index}") for index in range(1, 3)]
        picture(path.name).save(path, container, save_all=True, append_images=pages, **options)

    return write


def with_alpha(container: str, mode: str, **options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        image = picture(path.name)
        image.putalpha(
            Image.fromarray(np.linspace(0, 255, WIDTH_PX * HEIGHT_PX).astype(np.uint8).reshape(HEIGHT_PX, -1))
        )
        image.convert(mode).save(path, container, **options)

    return write


def transparent_palette(path: Path) -> None:
    picture(path.name).quantize(64).save(path, "PNG", transparency=bytes(range(64)))


def exif(**fields: Any) -> Image.Exif:
    """EXIF data by tag name; those of the EXIF sub-folder where Pillow has them."""
    from PIL.ExifTags import Base

    tags = Image.Exif()
    inner = {"FocalLength", "FocalLengthIn35mmFilm", "FocalPlaneXResolution", "FocalPlaneResolutionUnit"}
    for name, value in fields.items():
        target = tags.get_ifd(0x8769) if name in inner else tags
        target[Base[name]] = value
    return tags


def broken_exif(path: Path) -> None:
    """Lengths and offsets that point nowhere."""
    block = b"Exif\0\0II*\0\x08\0\0\0\x20\0" + bytes(range(1, 200))
    path.write_bytes(encoded(picture(path.name), "JPEG", exif=block))


def lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    assert converted is not None
    return converted


def dng(path: Path) -> None:
    picture(path.name).save(path, "TIFF", tiffinfo={50706: b"\x01\x04\x00\x00"})


def raw_preview(path: Path) -> None:
    picture(path.name).save(path, "TIFF", tiffinfo={254: 1})


def open_socket(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)  # the path of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def good_link(path: Path) -> None:
    """A link to a photo outside the folder."""
    save("JPEG")(path.parent.parent / "elsewhere.jpg")
    path.symlink_to("../elsewhere.jpg")


def renamed(name: str) -> Callable[[Path], None]:
    return lambda path: save("JPEG")(path.with_name(name))


def undecodable_name(path: Path) -> None:
    with open(os.path.join(os.fsencode(path.parent), b"caf\xe9.jpg"), "wb") as file:
        file.write(encoded(picture("latin-1"), "JPEG"))


_FTYP = b"\0\0\0\x18ftyp"

BAD = (
    FileCase("empty.jpg", content(b""), SkipReason.EMPTY),
    FileCase("empty.txt", content(b""), SkipReason.EMPTY),
    FileCase("notes.txt", content(b"Sunday, at the castle\n"), SkipReason.NOT_AN_IMAGE),
    FileCase("text.jpg", content(b"this is no photo\n" * 100), SkipReason.NOT_AN_IMAGE),
    FileCase("page.png", content(b"<!DOCTYPE html><title>404</title>"), SkipReason.NOT_AN_IMAGE),
    FileCase("noise.jpg", content(np.random.default_rng(1).bytes(5000)), SkipReason.NOT_AN_IMAGE),
    FileCase("zeros.jpg", content(bytes(5000)), SkipReason.CORRUPT, "zero"),
    FileCase("signature.jpg", content(b"\xff\xd8\xff"), SkipReason.CORRUPT),
    FileCase("signature.png", content(b"\x89PNG\r\n\x1a\n"), SkipReason.CORRUPT),
    FileCase("noise.jpeg", content(b"\xff\xd8\xff" + np.random.default_rng(2).bytes(5000)), SkipReason.CORRUPT),
    FileCase("cut.jpg", damaged("JPEG", half), SkipReason.CORRUPT),
    FileCase("cut_progressive.jpg", damaged("JPEG", half, progressive=True), SkipReason.CORRUPT),
    FileCase("cut.png", damaged("PNG", half), SkipReason.CORRUPT),
    FileCase("cut.tif", damaged("TIFF", half), SkipReason.CORRUPT),
    FileCase("cut_deflate.tif", damaged("TIFF", half, compression="tiff_adobe_deflate"), SkipReason.CORRUPT),
    FileCase("cut.webp", damaged("WEBP", half), SkipReason.CORRUPT),
    FileCase("zero_tail.jpg", damaged("JPEG", zero_tail, quality=95), SkipReason.CORRUPT, "zero"),
    FileCase("zero_tail.webp", damaged("WEBP", zero_tail, lossless=True), SkipReason.CORRUPT, "zero"),
    FileCase("noise_inside.png", damaged("PNG", noise_in_the_middle), SkipReason.CORRUPT),
    FileCase("as_text.png", damaged("PNG", lambda data: data.replace(b"\r\n", b"\n")), SkipReason.CORRUPT),
    FileCase("pixel.png", sized(1, 1), SkipReason.TOO_SMALL),
    FileCase("icon.png", sized(32, 32), SkipReason.TOO_SMALL),
    FileCase("strip.png", sized(2000, 63), SkipReason.TOO_SMALL, "2000 x 63"),
    FileCase("bomb.png", png_bomb, SkipReason.TOO_LARGE, "60000 x 60000"),
    FileCase("huge.jpg", huge_file, SkipReason.TOO_LARGE, "3.0 GB"),
    FileCase("nothing.heic", content(_FTYP + b"heic" + bytes(100)), SkipReason.CORRUPT),
    FileCase("nothing.avif", content(_FTYP + b"avif" + bytes(100)), SkipReason.CORRUPT),
    FileCase("cut.heic", damaged("HEIF", half, quality=90), SkipReason.CORRUPT),
    FileCase("cut.avif", damaged("AVIF", half, quality=90), SkipReason.CORRUPT),
    FileCase("zero_tail.heic", damaged("HEIF", zero_tail, quality=90), SkipReason.CORRUPT, "zero"),
    FileCase("icon.heic", content(encoded(picture("icon.heic", 60, 60), "HEIF")), SkipReason.TOO_SMALL, "60 x 60"),
    FileCase("film.mp4", content(_FTYP + b"isom" + bytes(100)), SkipReason.NOT_AN_IMAGE, "a video"),
    FileCase("film.mkv", content(b"\x1aE\xdf\xa3" + bytes(100)), SkipReason.NOT_AN_IMAGE, "a video"),
    FileCase("film.avi", content(b"RIFF1234AVI LIST" + bytes(100)), SkipReason.NOT_AN_IMAGE, "a video"),
    FileCase("loop.gif", save("GIF", "P"), SkipReason.NOT_AN_IMAGE, "convert"),
    FileCase("scan.bmp", save("BMP"), SkipReason.NOT_AN_IMAGE, "convert"),
    FileCase("raw.NEF", save("TIFF"), SkipReason.NOT_AN_IMAGE, "raw"),
    FileCase("dng.tif", dng, SkipReason.NOT_AN_IMAGE, "raw"),
    FileCase("preview.tif", raw_preview, SkipReason.NOT_AN_IMAGE, "raw"),
    FileCase("float.tif", lambda path: picture(path.name).convert("F").save(path), SkipReason.NOT_AN_IMAGE, "float"),
    FileCase("dangling.jpg", link_to("nowhere.jpg"), SkipReason.UNREADABLE, "link"),
    FileCase("itself.jpg", link_to("itself.jpg"), SkipReason.UNREADABLE, "link"),
    FileCase("pipe.jpg", os.mkfifo, SkipReason.UNREADABLE, "pipe"),
    FileCase("socket.jpg", open_socket, SkipReason.UNREADABLE, "socket"),
    FileCase("device.jpg", link_to("/dev/zero"), SkipReason.UNREADABLE, "device"),
    FileCase("caf\\xe9.jpg", undecodable_name, SkipReason.BAD_NAME, "UTF-8"),
    FileCase("new\\nline.jpg", renamed("new\nline.jpg"), SkipReason.BAD_NAME, "control"),
    FileCase("red\\x1b[31m.jpg", renamed("red\x1b[31m.jpg"), SkipReason.BAD_NAME, "control"),
)  # fmt: skip
"""Files that must be left out. A backslash in a name stands for what is escaped in reports."""

UNUSUAL = (
    FileCase("plain.jpg", save("JPEG", quality=95)),
    FileCase("progressive.JPG", save("JPEG", quality=95, progressive=True)),
    FileCase("grey.jpg", save("JPEG", "L", quality=95)),
    FileCase("cmyk.jpg", save("JPEG", "CMYK", quality=95)),
    FileCase("jpeg_as.png", save("JPEG", quality=95)),
    FileCase("png_as.jpg", save("PNG")),
    FileCase("webp_as.jpg", save("WEBP", lossless=True)),
    FileCase("tiff_as.heic", save("TIFF")),
    FileCase("no_extension", save("JPEG", quality=95)),
    FileCase("two_pictures.mpo", several_pages("MPO", quality=95)),
    FileCase("data_after_end.jpg", damaged("JPEG", lambda data: data + b"appended by a phone\0\0\1", quality=95)),
    FileCase("zeros_after_end.jpg", damaged("JPEG", lambda data: data + bytes(4096), quality=95)),
    FileCase("broken_exif.jpg", broken_exif),
    FileCase("smallest.png", sized(64, 64)),
    FileCase("grey.png", save("PNG", "L")),
    FileCase("bilevel.png", save("PNG", "1")),
    FileCase("palette.png", lambda path: picture(path.name).quantize(64).save(path)),
    FileCase("transparent_palette.png", transparent_palette),
    FileCase("transparent_colour.png", save("PNG", transparency=(1, 2, 3))),
    FileCase("alpha.png", with_alpha("PNG", "RGBA")),
    FileCase("grey_alpha.png", with_alpha("PNG", "LA")),
    FileCase("grey_16_bit.png", grey_16_bit("PNG", 16)),
    FileCase("rgb_16_bit.png", rgb_16_bit_png),
    FileCase("no_end.png", damaged("PNG", lambda data: data[:-12])),
    FileCase("animated.png", several_pages("PNG")),
    FileCase("plain.tif", save("TIFF")),
    FileCase("lzw.tiff", save("TIFF", compression="tiff_lzw")),
    FileCase("jpeg_inside.tif", save("TIFF", compression="jpeg", quality=95)),
    FileCase("cmyk.tif", save("TIFF", "CMYK")),
    FileCase("lab.tif", lambda path: lab(picture(path.name)).save(path)),
    FileCase("ycbcr.tif", save("TIFF", "YCbCr")),
    FileCase("bilevel.tif", save("TIFF", "1")),
    FileCase("palette.tif", lambda path: picture(path.name).quantize(64).save(path)),
    FileCase("alpha.tif", with_alpha("TIFF", "RGBA")),
    FileCase("grey_16_bit.tif", grey_16_bit("TIFF", 16)),
    FileCase("grey_12_bit.tif", grey_16_bit("TIFF", 12)),
    FileCase("pages.tif", several_pages("TIFF")),
    FileCase("plain.webp", save("WEBP", lossless=True)),
    FileCase("alpha.webp", with_alpha("WEBP", "RGBA", lossless=True)),
    FileCase("animated.webp", several_pages("WEBP", lossless=True)),
    FileCase("phone.HEIC", save("HEIF", quality=95)),
    FileCase("heic_as.jpg", save("HEIF", quality=95)),
    FileCase("grey.heif", save("HEIF", "L", quality=95)),
    FileCase("ten_bit.hif", ten_bit_heic),
    FileCase("photo.avif", save("AVIF", quality=95)),
    FileCase("mif1.avif", damaged("AVIF", lambda data: data.replace(b"ftypavif", b"ftypmif1", 1), quality=95)),
    FileCase("link.jpg", good_link),
)  # fmt: skip
"""Files that must be used."""

NAMES = (
    "é.jpg", "e\u0301.jpg", "📷.jpg", "中文.jpg", "עברית.jpg", "sp ace.jpg", " leading.jpg", "trailing.jpg ",
    "-dash.jpg", "%20.jpg", "#hash.jpg", "back\\slash.jpg", "it's \"quoted\".jpg", "$(HOME);*?.jpg", "comma,.jpg",
    "a..b.jpg", "no-break\u00a0space.jpg", "line\u2028separator.jpg", "x" * 251 + ".jpg", "UPPER.JPG", "upper.jpg",
    "sub/IMG_1.jpg", "sub/IMG_2.jpg", "Üb er/IMG_1.jpg", "deep/" * 12 + "IMG_1.jpg",
)  # fmt: skip
"""Names that a photo may have."""
