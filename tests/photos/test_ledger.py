from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bad_photos
from bad_photos import exif, picture, pixels
from gps_noise import exif_of
from interpose_sfm.options import PhotoOptions
from interpose_sfm.photos import collect as collect_module
from interpose_sfm.photos import gps
from interpose_sfm.photos.collect import collect_photos
from interpose_sfm.photos.ledger import stamp
from interpose_sfm.photos.pictures import read_position
from interpose_sfm.products import GpsPosition, SkipReason
from interpose_sfm.storage.content_keys import content_key
from paths import ROOT
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
)


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


def test_unchanged_files_are_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, "a.jpg", "b.jpg")
    first, read, real = collect(folder), [], collect_module.read_picture_bytes

    def noted(path: Path, options: PhotoOptions) -> bytes:
        read.append(path.name)
        return real(path, options)

    monkeypatch.setattr(collect_module, "read_picture_bytes", noted)
    assert collect(folder) == first
    assert read == []
    (folder / "a.jpg").write_bytes(b"x" * 1000)
    assert reasons_of(collect(folder)) == {"a.jpg": SkipReason.NOT_AN_IMAGE}
    assert read == ["a.jpg"]
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
    (first.image_dir / "a.png").unlink()
    (first.image_dir / "b.png").write_bytes(b"cut short")
    assert names_of(collect(folder)) == ["a.png", "b.png"]
    for name in ("a", "b"):
        assert np.array_equal(read_by_colmap(first.image_dir / f"{name}.png"), pixels(name))


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
    before = stamps(folder.parent / "output" / "images")
    (folder.parent / "list.txt").write_text("a.jpg\n")
    chosen = PhotoOptions(min_side_px=120, image_list=folder.parent / "list.txt", num_frames_target=7, recursive=False)
    assert names_of(collect(folder, options=chosen)) == ["a.jpg"]
    assert (
        stamps(folder.parent / "output" / "images") == before
    )  # which files are used says nothing of how they are read
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
    assert [photo.source for photo in collect(folder).photos] == files_in(folder)
    after = stamps(image_dir)
    first_fifty = [f"{index:02}.png" for index in range(50)]
    assert [before[name] for name in first_fifty] == [after[name] for name in first_fifty]


def test_killed_run_leaves_no_file_of_unknown_origin(folder: Path) -> None:
    """Photos that were already placed and are gone from the folder when the next run starts."""
    mixed_photos(folder)
    image_dir = folder.parent / "output" / "images"
    kill(folder, image_dir, 3)
    assert len(files_in(image_dir)) >= 2
    for path in folder.rglob("*.jpg"):
        path.unlink()
    assert names_of(collect(folder)) == ["sub/c.png"]
    assert files_in(image_dir) == ["sub/c.png"]


def test_files_of_others_are_never_touched(folder: Path) -> None:
    put(folder, "a.jpg", "sub/b.jpg")
    image_dir = collect(folder).image_dir
    put(image_dir, "mine.jpg", "sub/mine.jpg")
    shutil.rmtree(folder / "sub")
    collect(folder)
    assert files_in(image_dir) == ["a.jpg", "mine.jpg", "sub/mine.jpg"]
    picture("theirs").save(folder / "mine.jpg")
    before = digests(image_dir)
    with pytest.raises(ValueError, match=r"mine\.jpg is in the way"):
        collect(folder)
    assert digests(image_dir) == before


def test_what_is_done_to_the_images_leaves_the_originals_alone(folder: Path) -> None:
    put(folder, "a.jpg")
    original = folder / "a.jpg"
    original.chmod(0o600)
    before = original.read_bytes(), original.stat()
    image = collect(folder).photos[0].path
    assert image.read_bytes() == before[0]
    image.chmod(0o444)
    os.utime(image, (0, 0))
    image.chmod(0o644)
    image.write_bytes(b"")
    after = original.stat()
    assert original.read_bytes() == before[0]
    for name in ("st_mode", "st_mtime_ns", "st_ctime_ns", "st_nlink"):
        assert getattr(after, name) == getattr(before[1], name)


def test_a_photo_of_equal_size_and_time_is_noticed(folder: Path) -> None:
    """`cp -p` and `mv` of another file keep its time, and damage to an image need not change its size."""
    put(folder, "a.bmp.jpg", "b.jpg")
    first = collect(folder)
    times = (folder / "b.jpg").stat().st_atime_ns, (folder / "b.jpg").stat().st_mtime_ns
    data = (folder / "b.jpg").read_bytes()
    changed = data.replace(data[-60:-50], bytes(10))  # another picture in as many bytes
    for replace_by in ("copy", "move"):
        (folder / "b.jpg").write_bytes(data)
        os.utime(folder / "b.jpg", ns=times)
        collect(folder)
        if replace_by == "copy":
            (folder / "b.jpg").write_bytes(changed)
        else:
            (folder.parent / "other.jpg").write_bytes(changed)
            os.replace(folder.parent / "other.jpg", folder / "b.jpg")
        os.utime(folder / "b.jpg", ns=times)
        assert (folder / "b.jpg").stat().st_mtime_ns == times[1]
        again = collect(folder)
        assert [p.sha256 for p in again.photos] != [p.sha256 for p in first.photos], replace_by
        assert (again.image_dir / "b.jpg").read_bytes() == changed
    image, stat = again.image_dir / "b.jpg", (again.image_dir / "b.jpg").stat()
    image.write_bytes(bytes(len(changed)))
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    collect(folder)
    assert image.read_bytes() == changed


@pytest.mark.parametrize("kind", ["../../victim/precious.txt", "{}/victim/precious.txt", "link/precious.txt", "", "."])
def test_no_name_in_a_ledger_leads_out(folder: Path, kind: str) -> None:
    put(folder, "a.jpg")
    image_dir = collect(folder).image_dir
    victim = folder.parent / "victim" / "precious.txt"
    victim.parent.mkdir()
    victim.write_text("precious")
    (image_dir / "link").symlink_to(victim.parent)
    path = image_dir.parent / "images.interpose-photos.json"
    content = json.loads(path.read_text())
    for version in (2, 3):  # a ledger of an earlier version has no check
        content.pop("check", None)
        content["key"]["version"] = version
        content["names"] = ["a.jpg", kind.format(folder.parent)]
        path.write_text(json.dumps({**content, "check": content_key(content)}))
        with pytest.raises(ValueError, match=r"images\.interpose-photos\.json is damaged .*delete"):
            collect(folder)
        assert victim.read_text() == "precious"


def test_an_output_of_other_photos_is_not_replaced_unasked(folder: Path) -> None:
    put(folder, "a.jpg", "sub/b.jpg")
    image_dir = collect(folder).image_dir
    before = digests(image_dir)
    moved = folder.rename(folder.parent / "moved")
    assert names_of(collect(moved, image_dir.parent)) == ["a.jpg", "sub/b.jpg"]
    (moved / "a.jpg").unlink()
    put(moved, "c.jpg")
    assert names_of(collect(moved, image_dir.parent)) == ["c.jpg", "sub/b.jpg"]  # some are the same
    (moved / "c.jpg").rename(moved / "a.jpg")
    assert names_of(collect(moved, image_dir.parent)) == ["a.jpg", "sub/b.jpg"]
    others = folder.parent / "others"
    others.mkdir()
    picture("other").save(others / "a.jpg")  # of the same name
    before = digests(image_dir)
    with pytest.raises(ValueError, match=f"is the output of the photos in {moved}, .*--overwrite"):
        collect(others, image_dir.parent)
    assert digests(image_dir) == before
    photo_set = collect_photos(others, image_dir, OPTIONS, overwrite=True)
    assert names_of(photo_set) == files_in(image_dir) == ["a.jpg"]


def test_an_output_is_not_replaced_unasked_by_that_of_some_of_its_photos(folder: Path) -> None:
    """A model of all photos would give way to one of a few."""
    put(folder, "a.jpg", "sub/b.jpg")
    image_dir = collect(folder).image_dir
    some = folder.parent / "some"
    some.mkdir()
    shutil.copy(folder / "a.jpg", some / "a.jpg")
    with pytest.raises(ValueError, match=r"some lacks 1 of them, such as sub/b\.jpg; .*--overwrite"):
        collect(some, image_dir.parent)
    assert files_in(image_dir) == ["a.jpg", "sub/b.jpg"]
    assert names_of(collect_photos(some, image_dir, OPTIONS, overwrite=True)) == ["a.jpg"]
    put(some, "c.jpg")
    assert names_of(collect(some, image_dir.parent)) == ["a.jpg", "c.jpg"]


def test_images_of_an_earlier_version_are_laid_out_anew(folder: Path) -> None:
    """It wrote pictures without the position that their photos have."""
    picture("a").save(folder / "a.jpg", exif=exif_of(gps.tags_to_write(GpsPosition(48.5, -2.25, 7.0)), orientation=6))
    image_dir = collect(folder).image_dir
    image, path = image_dir / "a.jpg", image_dir.parent / "images.interpose-photos.json"
    assert read_position(image) is not None
    with Image.open(image) as written:
        written.save(image)
    content = json.loads(path.read_text())
    del content["check"]
    content["key"]["version"] = 5
    content["records"]["a.jpg"]["target_stamp"] = list(stamp(image))
    path.write_text(json.dumps({**content, "check": content_key(content)}))
    assert read_position(image) is None
    others = folder.parent / "others"
    others.mkdir()
    put(others, "b.jpg")
    with pytest.raises(ValueError, match=f"is the output of the photos in {folder}, .*--overwrite"):
        collect(others, image_dir.parent)
    collect(folder)
    assert read_position(image) == GpsPosition(48.5, -2.25, 7.0)


def test_originals_survive_when_a_link_becomes_a_conversion(folder: Path) -> None:
    """Earlier versions linked the image to the original: writing into it would destroy the photo."""
    put(folder, "a.jpg")
    image_dir = collect(folder).image_dir
    (image_dir / "a.jpg").unlink()
    os.link(folder / "a.jpg", image_dir / "a.jpg")
    before = (folder / "a.jpg").read_bytes()
    (folder / "a.jpg").rename(folder.parent / "kept.jpg")
    picture("a").save(folder / "a.jpg", "WEBP")
    photo_set = collect(folder)
    assert (folder.parent / "kept.jpg").read_bytes() == before
    assert read_by_colmap(photo_set.photos[0].path).shape == (120, 160, 3)


def test_lost_ledger_and_damaged_ledger(folder: Path) -> None:
    put(folder, "a.jpg")
    image_dir = collect(folder).image_dir
    ledger = image_dir.parent / "images.interpose-photos.json"
    ledger.unlink()
    assert names_of(collect(folder)) == ["a.jpg"]  # a copy of the photo is no file of somebody else
    earlier = json.dumps({"names": ["a.jpg"], "key": {"version": 2}, "records": {"a.jpg": 1}})
    whole = json.loads(ledger.read_text())
    wide = {"a.jpg": {**whole["records"]["a.jpg"], "width_px": 10**30}}
    altered = json.dumps({**whole, "records": wide})
    for content in ("{", "[]", '{"names": ["a.jpg"]}', "[" * 100_000, '{"key": 1, "names": [1]}', altered, earlier):
        ledger.write_text(content)
        if content == earlier:
            assert names_of(collect(folder)) == ["a.jpg"]
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
