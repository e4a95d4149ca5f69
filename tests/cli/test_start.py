"""What can be known at the start is told there: before COLMAP runs, and before anything is made."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from interpose_sfm.cli.main import main
from interpose_sfm.options import (
    BaseOptions,
    BridgingOptions,
    ConsensusOptions,
    ConsistencyOptions,
    GenerationOptions,
    MatchingOptions,
    PhotoOptions,
)
from interpose_sfm.photos import collect
from interpose_sfm.workflows import reconstruct
from photo_folders import put


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two photos, and nobody who reads or maps them."""
    put(tmp_path / "photos", "a.jpg", "b.jpg")
    (tmp_path / "script.py").write_text("print('the script ran')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(collect, "collect_photos", lambda *_, **__: pytest.fail("photos were read"))
    monkeypatch.setattr(reconstruct.PhotoRun, "map_base", lambda *_: pytest.fail("COLMAP mapped"))
    return tmp_path / "photos"


BAD_OPTIONS: dict[str, tuple[Sequence[str], str]] = {
    "generator": (["--generator", "nope"], "unknown video generator 'nope'"),
    "model of a service": (["--generator", "runway:nope"], "nope"),
    "checkpoint": (["--generator", "diffusers:/nonexist"], "/nonexist"),
    "colon": (["--generator", "morph:x"], "without a colon"),
    "clips without a folder": (["--generator", "clips"], "needs a folder with clips"),
    "estimator": (["--pose-estimator", "nope"], "unknown pose estimator 'nope'"),
    "estimator without weights": (["--pose-estimator", "da3"], "pose estimator da3: its weights are not here"),
    "device": (["--device", "foo"], "device: got 'foo', expected a torch device"),
    "CUDA": (["--device", "cuda:99"], "device: got 'cuda:99'"),
    "video device": (["--generator", "wan-vace", "--video-device", "cuda:99"], "video-device: got 'cuda:99'"),
    "DUSt3R's device": (["--pose-estimator", "dust3r", "--dust3r-device", "cuda:99"], "dust3r"),
    "clip folder": (["--clips", "/nonexist"], "clip folder /nonexist does not exist"),
    "clip file": (["--clips", "photos/a.jpg"], "does not exist or is no folder"),
    "prompts": (["--prompt-file", "/nonexist"], "/nonexist"),
    "image list": (["--image-list", "/nonexist"], "/nonexist"),
    "captioner": (["--captioner", "nope"], "captioner 'nope'"),
    "NaN": (["--detection-threshold", "nan"], "detection-threshold: got nan"),
}
VERBS: dict[str, Sequence[str]] = {
    "reconstruct": ["reconstruct", "photos"],
    "bridge": ["bridge", "photos"],
    "relpose": ["relpose", "photos/a.jpg", "photos/b.jpg"],
    "hook": ["hook"],
}
NOT_OF = {
    "bridge": {
        "estimator",
        "estimator without weights",
        "DUSt3R's device",
        "clips without a folder",
        "colon",
        "clip folder",
        "clip file",
    },
    "relpose": {"image list"},
    "hook": {"image list"},
}


@pytest.mark.parametrize(("verb", "case"), [(v, c) for v in VERBS for c in BAD_OPTIONS if c not in NOT_OF.get(v, ())])
def test_options_are_checked_first(photos: Path, capfd: pytest.CaptureFixture[str], verb: str, case: str) -> None:
    flags, message = BAD_OPTIONS[case]
    script = ["--", "script.py"] if verb == "hook" else []
    before = sorted(photos.parent.rglob("*"))
    assert main([*VERBS[verb], *flags, *script]) == 2
    told = capfd.readouterr()
    assert message in told.err
    assert "Traceback" not in told.err
    assert told.out == ""
    assert sorted(photos.parent.rglob("*")) == before


def test_a_device_that_is_not_there(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without CUDA")
    assert main(["reconstruct", "photos", "--device", "cuda"]) == 2
    message = f"got 'cuda', and torch sees 0 CUDA devices on {socket.gethostname()}; expected cpu"
    assert message in capfd.readouterr().err


@pytest.mark.parametrize("verb", ["reconstruct", "pairs", "bridge"])
@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", "photo folder does not exist"),
        ("photos/a.jpg", "got a file"),
        ("~/nope", "got ~/nope"),
        ("", "got an empty argument"),
    ],
)
def test_a_wrong_photo_folder_leaves_nothing(
    photos: Path, capfd: pytest.CaptureFixture[str], verb: str, folder: str, message: str
) -> None:
    before = sorted(photos.parent.rglob("*"))
    assert main([verb, folder, *(["--generator", "wan-vace"] if verb == "bridge" else [])]) == 2
    assert message in capfd.readouterr().err
    assert sorted(photos.parent.rglob("*")) == before


@pytest.mark.parametrize("output", ["~/out", ""])
def test_an_output_that_was_not_meant(photos: Path, capfd: pytest.CaptureFixture[str], output: str) -> None:
    before = sorted(photos.parent.rglob("*"))
    assert main(["reconstruct", "photos", "--output", output]) == 2
    assert "got" in capfd.readouterr().err
    assert sorted(photos.parent.rglob("*")) == before


def test_an_empty_path_is_refused_in_the_library(photos: Path) -> None:
    for call in (reconstruct.reconstruct, reconstruct.find_weak_pairs):
        with pytest.raises(ValueError, match="got an empty path"):
            call("")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got an empty path"):
        reconstruct.reconstruct(photos, "")  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [None, b"", b"garbage" * 1000])
def test_a_database_that_is_none(photos: Path, capfd: pytest.CaptureFixture[str], content: bytes | None) -> None:
    if content is not None:
        (photos.parent / "mine.db").write_bytes(content)
    before = sorted(photos.parent.rglob("*"))
    assert main(["reconstruct", "photos", "--database", "mine.db"]) == 2
    assert "expected a COLMAP database" in capfd.readouterr().err
    assert sorted(photos.parent.rglob("*")) == before


def test_bridge_asks_for_a_pair_file_and_a_video_model_first(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = sorted(photos.parent.rglob("*"))
    assert main(["bridge", "photos", "--generator", "morph"]) == 2
    assert main(["bridge", "photos", "--generator", "wan-vace", "--pair-file", "nowhere.txt"]) == 2
    told = capfd.readouterr().err
    assert "'morph' is no video model" in told
    assert "there is no pair file nowhere.txt" in told
    assert sorted(photos.parent.rglob("*")) == before


@pytest.mark.parametrize("verb", ["reconstruct", "pairs", "bridge"])
@pytest.mark.parametrize("flags", [(), ("--num-frames-target", "0")])
def test_a_video_in_the_place_of_photos_that_is_none(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], verb: str, flags: tuple[str, ...]
) -> None:
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    assert main([verb, str(tmp_path / "film.mp4"), *flags]) == 2
    told = capfd.readouterr().err
    assert ("num-frames-target is 0" if flags else "film.mp4 cannot be read as a video (") in told
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("reconstruct", "photos", "--image-list"), "there is no image list none; expected a text file with a name a"),
        (("pairs", "photos", "--pair-list"), "there is no pair list none; expected a text file with two names a line"),
        (("reconstruct", "photos", "--position-file"), "there is no position file none; expected a text file with a f"),
        (("bridge", "photos", "--generator", "wan-vace", "--pair-file"), "there is no pair file none; expected a text"),
    ],
)
def test_lists_that_are_not_there_are_told_alike(
    photos: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert main([*words, "none"]) == 2
    assert message in capfd.readouterr().err


def test_a_wrong_pose_estimator_is_told_with_all_names(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["reconstruct", "photos", "--pose-estimator", "dust4r"]) == 2
    assert "unknown pose estimator 'dust4r', expected one of: auto, da3, dust3r" in capfd.readouterr().err


def test_faulty_clips_are_told_before_colmap_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They can only be judged once the names of the photos are known."""
    put(tmp_path / "photos", "a.jpg", "b.jpg")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "clips.json").write_text('[{"a": "a.jpg", "b": "b.jpg", "clips": ["missing.mp4"]}]')
    monkeypatch.setattr(reconstruct.PhotoRun, "map_base", lambda *_: pytest.fail("COLMAP mapped"))
    options = reconstruct.ReconstructOptions(bridging=BridgingOptions(clip_dirs=(tmp_path / "clips",)))
    with pytest.raises(ValueError, match=r"missing\.mp4' does not exist"):
        reconstruct.reconstruct(tmp_path / "photos", tmp_path / "out", options)


@pytest.mark.parametrize(
    "kind",
    [
        BaseOptions,
        BridgingOptions,
        ConsensusOptions,
        ConsistencyOptions,
        GenerationOptions,
        MatchingOptions,
        PhotoOptions,
    ],
)
def test_no_option_is_nan(kind: type) -> None:
    for name, value in vars(kind()).items():
        if isinstance(value, float) or name in ("max_cost", "clip_price"):
            with pytest.raises(ValueError, match=rf"{name.replace('_', '[-_]')}.*nan"):
                kind(**{name: float("nan")})


# ---------------------------------------------------------------- the demonstration


@pytest.mark.parametrize("name", ["sample_key.txt", "before_after.png", "sample/truth.json", "notes.txt"])
def test_the_demonstration_overwrites_nobodys_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    mine = tmp_path / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert main(["demo", "--output", str(tmp_path / "out")]) == 2
    assert "holds files of something else" in capfd.readouterr().err
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"
