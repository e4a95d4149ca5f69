"""Videos as photos: their sharpest frames, in order, made once, upright."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageFilter

import interpose_sfm.workflows.video_frames as module
from bridging_scene import CODECS, pan, write_video
from interpose_sfm.colmap.cameras import camera_groups, import_cameras
from interpose_sfm.options import BridgingOptions, CameraMode, GenerationOptions, PhotoOptions, ReconstructOptions
from interpose_sfm.photos.pictures import read_rgb
from interpose_sfm.products import ImageArray, PhotoSet, SkipReason
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.workflows.reconstruct import PhotoRun, workspace_of
from interpose_sfm.workflows.start_checks import check_run
from interpose_sfm.workflows.video_frames import sharpest
from photo_folders import digests, files_in, put

FRAMES = pan(seed=5, num_frames=12)
SHARP = (1, 5, 6, 10)  # one in each quarter of them


def blurred(frame: ImageArray) -> ImageArray:
    return np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(3)))


def film(path: Path) -> Path:
    return write_video(path, [f if i in SHARP else blurred(f) for i, f in enumerate(FRAMES)])


def collect(photos: Path, num_frames: int = 4, **options: object) -> PhotoSet:
    """As `reconstruct` does it."""
    workspace = workspace_of(photos, None)
    chosen = ReconstructOptions(photos=PhotoOptions(num_frames_target=num_frames, **options))  # type: ignore[arg-type]
    check_run(photos, workspace, chosen)
    with workspace.locked():
        return PhotoRun(workspace, chosen, RunLog()).collect(photos)


def names(photo_set: PhotoSet) -> list[str]:
    return [photo.name for photo in photo_set.photos]


FILM_NAMES = [f"film/frame_{index:06}.jpg" for index in SHARP]


@pytest.mark.parametrize("suffix", sorted(CODECS.keys() - {".gif"}))
def test_a_video_is_its_sharpest_frames_in_order(suffix: str, tmp_path: Path) -> None:
    path = film(tmp_path / f"film{suffix}")
    photo_set = collect(path)
    assert names(photo_set) == FILM_NAMES
    assert photo_set.skipped == ()
    assert photo_set.image_dir == tmp_path / "film_interpose" / "images"
    assert files_in(tmp_path / "film_interpose" / "images") == FILM_NAMES
    for photo, index in zip(photo_set.photos, SHARP, strict=True):
        errors = [np.abs(read_rgb(photo.path).astype(float) - frame).mean() for frame in FRAMES]
        assert int(np.argmin(errors)) == index
    assert camera_groups(photo_set.photos, CameraMode.AUTO) == (tuple(FILM_NAMES),)


def test_what_goes_on_from_a_run_lays_nothing_out_anew(tmp_path: Path) -> None:
    """`bridge` with other options of photos than the run had would take images away that its models are of."""
    path = film(tmp_path / "film.mp4")
    collect(path)
    before = digests(tmp_path / "film_interpose" / "images")
    workspace = workspace_of(path, None)
    other = PhotoOptions(num_frames_target=2, keep_orientation=True)
    with workspace.locked():
        run = PhotoRun(workspace, ReconstructOptions(photos=other), RunLog())
        with pytest.raises(
            ValueError,
            match=r"film_interpose holds photos by other options: keep-orientation was False, and is True now; "
            r"num-frames-target was 4, and is 2 now; give those of the earlier run, or choose another output folder",
        ):
            run.collect(path, goes_on=True)
        assert digests(tmp_path / "film_interpose" / "images") == before
        same = ReconstructOptions(photos=PhotoOptions(num_frames_target=4))
        assert names(PhotoRun(workspace, same, RunLog()).collect(path, goes_on=True)) == FILM_NAMES
        assert len(run.collect(path).photos) == 2  # who starts anew may


def test_videos_in_a_folder_come_with_its_photos(tmp_path: Path) -> None:
    put(tmp_path / "photos", "a.jpg", "sub/walk/b.jpg")
    film(tmp_path / "photos" / "film.mp4")
    write_video(tmp_path / "photos" / "sub" / "walk.mp4", pan(seed=6, num_frames=3))
    (tmp_path / "photos" / "broken.mov").write_bytes(b"\0\0\0\x18ftypqt  " + bytes(200))
    photo_set = collect(tmp_path / "photos")
    walk = [f"sub/walk.mp4/frame_{index:06}.jpg" for index in range(3)]
    assert names(photo_set) == ["a.jpg", *FILM_NAMES, *walk, "sub/walk/b.jpg"]
    (broken,) = photo_set.skipped
    assert (broken.name, broken.reason) == ("broken.mov", SkipReason.CORRUPT)
    assert "not a video that can be decoded" in broken.detail
    groups = camera_groups(photo_set.photos, CameraMode.PER_FOLDER)
    assert groups == (("a.jpg",), tuple(FILM_NAMES), tuple(walk), ("sub/walk/b.jpg",))


def test_what_a_phone_records_around_a_photo_is_no_film(tmp_path: Path) -> None:
    put(tmp_path / "photos", "IMG_1.jpg", "IMG_2.jpg")
    film(tmp_path / "photos" / "IMG_1.mov")
    film(tmp_path / "photos" / "notes.mp4")
    (tmp_path / "photos" / "notes.txt").write_text("of the film")
    photo_set = collect(tmp_path / "photos")
    assert len(names(photo_set)) == 6
    details = {file.name: file.detail for file in photo_set.skipped}
    assert details["IMG_1.mov"] == "the moving part of the photo IMG_1.jpg"


def test_videos_can_be_left_out(tmp_path: Path) -> None:
    put(tmp_path / "photos", "a.jpg")
    film(tmp_path / "photos" / "film.mp4")
    photo_set = collect(tmp_path / "photos", num_frames=0)
    assert names(photo_set) == ["a.jpg"]
    assert photo_set.skipped[0].why == "not an image (a video, not a photo)"


def test_an_image_list_may_name_a_video(tmp_path: Path) -> None:
    put(tmp_path / "photos", "a.jpg")
    film(tmp_path / "photos" / "film.mp4")
    (tmp_path / "list.txt").write_text("film.mp4\n")
    assert names(collect(tmp_path / "photos", image_list=tmp_path / "list.txt")) == FILM_NAMES


def test_with_a_database_only_videos_that_it_has_frames_of_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    put(photos, "z.jpg")
    film(photos / "film.mp4")
    write_video(photos / "other.mp4", pan(seed=6, num_frames=3))
    for name, num_frames in (("photos.db", 0), ("film.db", 4)):
        photo_set = collect(photos, num_frames)
        kept = [photo for photo in photo_set.photos if not photo.name.startswith("other")]
        import_cameras(tmp_path / name, replace(photo_set, photos=tuple(kept)), CameraMode.AUTO, "PINHOLE", "")
    decoded, real = [], module.stream_frames

    def noted(path: Path, max_frame_px: int):
        decoded.append(path.name)
        return real(path, max_frame_px)

    monkeypatch.setattr(module, "stream_frames", noted)
    for name, wanted in (("photos.db", ["z.jpg"]), ("film.db", [*FILM_NAMES, "z.jpg"])):
        log, workspace = RunLog(), workspace_of(photos, tmp_path / f"{name}_out")
        options = ReconstructOptions(database=tmp_path / name, photos=PhotoOptions(num_frames_target=4))
        with workspace.locked():
            assert names(PhotoRun(workspace, options, log).collect(photos)) == wanted
        assert log.warnings == []
    assert set(decoded) == {"film.mp4"}


def test_videos_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a kill between two of them; a changed video or another number of frames is another one."""
    decoded, real = [], module.stream_frames

    def noted(path: Path, max_frame_px: int):
        decoded.append(path.name)
        if path.name == "b.mp4" and len(decoded) < 4:
            raise KeyboardInterrupt
        return real(path, max_frame_px)

    monkeypatch.setattr(module, "stream_frames", noted)
    photos = tmp_path / "photos"
    photos.mkdir()
    film(photos / "a.mp4")
    write_video(photos / "b.mp4", pan(seed=6, num_frames=6))
    with pytest.raises(KeyboardInterrupt):
        collect(photos)
    assert decoded == ["a.mp4", "a.mp4", "b.mp4"]
    first = collect(photos)
    assert decoded[3:] == ["b.mp4", "b.mp4"]
    assert collect(photos) == first
    assert len(decoded) == 5
    stores = sorted((tmp_path / "photos_interpose" / "frames").iterdir())
    assert len(stores) == 2
    os.utime(photos / "b.mp4", ns=(1, 1))
    collect(photos)
    assert decoded[5:] == ["b.mp4", "b.mp4"]
    assert len(names(collect(photos, num_frames=2))) == 4
    assert len(list((tmp_path / "photos_interpose" / "frames").iterdir())) == 2  # those of before are gone


@pytest.mark.parametrize("damage", ["frame gone", "frame altered", "frame added", "list gone", "list altered"])
def test_frames_that_are_not_whole_are_taken_again(damage: str, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")
    whole = digests(collect(path).image_dir)
    (folder,) = (tmp_path / "film_interpose" / "frames").iterdir()
    frame, listed = sorted(folder.glob("*.jpg"))[1], folder / "frames.json"
    if damage.endswith("gone"):
        (listed if damage == "list gone" else frame).unlink()
    elif damage == "frame altered":
        Image.fromarray(FRAMES[0]).save(frame)
    elif damage == "frame added":
        shutil.copy(frame, folder / "frame_000099.jpg")
    else:
        listed.write_text("[")
    assert names(collect(path)) == FILM_NAMES
    assert digests(tmp_path / "film_interpose" / "images") == whole
    assert files_in(folder) == [*(name.removeprefix("film/") for name in FILM_NAMES), "frames.json"]


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_frames_of_a_phone_that_was_held_upright_are_upright(quarters: int, tmp_path: Path) -> None:
    """The file says by how much its frames are to be turned, as phones write it."""
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=15)
        stream.height, stream.width = np.rot90(FRAMES[0], -quarters).shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        stream.set_display_rotation(90 * quarters)
        for frame in FRAMES:
            stored = np.ascontiguousarray(np.rot90(frame, -quarters))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(stream.encode())
    photo_set = collect(path, num_frames=3)
    for photo in photo_set.photos:
        truth = FRAMES[int(photo.name.removesuffix(".jpg")[-6:])]
        assert np.abs(read_rgb(photo.path).astype(float) - truth).mean() < 8


def test_a_broken_video_among_photos_is_told_in_words_and_leaves_no_folder(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    put(photos, "a.jpg")
    (photos / "clip.mov").write_bytes(b"\0\0\0\x14ftypqt  " + bytes(100))
    (skipped,) = collect(photos).skipped
    assert skipped.detail == "not a video that can be decoded: Invalid data found when processing input"
    assert not (tmp_path / "photos_interpose" / "frames").exists()


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    with pytest.raises(ValueError, match="expected a folder of photos or a video, got a file"):
        check_run(tmp_path / "a.jpg", Workspace(tmp_path / "out"), ReconstructOptions())


@pytest.mark.parametrize(
    ("sharpness", "num_frames", "chosen"),
    [
        ([1.0, 3.0, 2.0, 5.0, 4.0, 6.0], 3, [1, 3, 5]),
        ([1.0, 3.0, 2.0, 5.0, 4.0], 2, [1, 3]),
        ([1.0, 2.0], 100, [0, 1]),
        ([], 100, []),
        ([0.0, 0.0, 0.0, 0.0], 1, [0]),
    ],
)
def test_the_sharpest_of_equal_parts(sharpness: list[float], num_frames: int, chosen: list[int]) -> None:
    assert sharpest(sharpness, num_frames) == chosen


@pytest.mark.parametrize("told_by", ["clip_dirs", "clip_store", "mask_path", "interpose_clips", "index", "lock"])
def test_clips_and_masks_among_the_photos_are_no_photos(told_by: str, tmp_path: Path) -> None:
    """Neither where an option names them, by whatever path, nor where a video model has left them."""
    photos = tmp_path / "photos"
    put(photos, "a.jpg", "sub/b.jpg")
    folder = photos / "sub" / (told_by if told_by == "interpose_clips" else "other")
    put(folder, "a.jpg.png" if told_by == "mask_path" else "x.jpg")
    film(folder / "a__b.mp4")
    (tmp_path / "link").symlink_to(folder)
    options = ReconstructOptions()
    if told_by == "clip_dirs":
        options = replace(options, bridging=BridgingOptions(clip_dirs=(tmp_path / "link", tmp_path / "none")))
    elif told_by == "clip_store":
        options = replace(options, generation=GenerationOptions(clip_store=tmp_path / "link"))
    elif told_by == "mask_path":
        options = replace(options, mask_path=tmp_path / "link")
        Image.new("L", read_rgb(photos / "a.jpg").shape[1::-1], 255).save(folder / "a.jpg.png")
    elif told_by in ("index", "lock"):
        (folder / {"index": "clips.json", "lock": ".interpose_sfm.lock"}[told_by]).write_text("[]")
    workspace = workspace_of(photos, None)
    with workspace.locked():
        photo_set = PhotoRun(workspace, options, RunLog()).collect(photos)
    assert names(photo_set) == ["a.jpg", "sub/b.jpg"]
    (left_out,) = photo_set.skipped
    assert left_out.name == f"sub/{folder.name}/"
    assert "clips" in left_out.detail
