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

import bad_photos
from bad_photos import exif, picture, pixels
from interpose_sfm.options import PhotoOptions
from interpose_sfm.photos.collect import collect_photos
from interpose_sfm.products import SkipReason
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
