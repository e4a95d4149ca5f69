from __future__ import annotations

from pathlib import Path

from PIL import Image

from interpose_sfm.retrieval.times import order_by_time


def put_photo(path: Path, taken: str | bytes, fraction: str = "") -> None:
    exif = Image.Exif()
    tags = exif.get_ifd(0x8769)
    if taken:
        tags[0x9003] = taken
    if fraction:
        tags[0x9291] = fraction
    Image.new("RGB", (8, 8)).save(path, exif=exif)


def test_photos_are_ordered_by_when_they_were_taken(tmp_path: Path) -> None:
    put_photo(tmp_path / "a.jpg", "2024:05:02 10:00:01")
    put_photo(tmp_path / "b.jpg", "2024:05:02 09:59:59")
    put_photo(tmp_path / "c.jpg", "2024:05:02 10:00:00", "75")
    put_photo(tmp_path / "d.jpg", "2024:05:02 10:00:00", "25")
    put_photo(tmp_path / "none.jpg", "")
    put_photo(tmp_path / "unset.jpg", "0000:00:00 00:00:00")
    put_photo(tmp_path / "words.jpg", "yesterday")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert order_by_time(tmp_path, names) == ("b.jpg", "d.jpg", "c.jpg", "a.jpg")
    assert order_by_time(tmp_path, ["missing.jpg"]) == ()
