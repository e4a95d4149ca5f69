"""Records of clips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clip_records import FRAMES, VIDEO, A, B, record
from interpose_sfm.clips.mp4 import encode_mp4
from interpose_sfm.clips.record import read_record, record_of, record_path
from interpose_sfm.video_models.clip_store import ClipStore


def store(folder: Path, *names: str) -> ClipStore:
    return ClipStore(folder, names or (A, B))


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    with store(tmp_path).locked():
        saved = store(tmp_path).save(record(), VIDEO, 0)
    assert saved.path.name == "a__b_0.mp4"
    assert read_record(record_path(saved.path)) == saved.record
    assert record_of(saved.path) == saved.record
    assert str(tmp_path) not in record_path(saved.path).read_text()


def broken(change: str, value: object) -> str:
    values = record(sha256="0" * 64).to_json()
    *path, last = change.split(".")
    inner = values
    for step in path:
        inner = inner[step]
    inner[last] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as JSON"),
        ('{"format": 1, "key":', "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("\0" * 2_000_000, "2000000 bytes"),
        ("[]", "got format 'list'"),
        ("{}", "got format None"),
        (broken("format", 2), "got format 2"),
        (broken("key", 3), "key = 3, expected str"),
        (broken("seed", True), "seed = True, expected int"),
        (broken("cost_usd", -1), "cost_usd = -1"),
        (broken("fit", "stretch"), "'stretch' is not a valid"),
        (broken("a", None), "a = None, expected dict"),
        (broken("a.width_px", 0), "width_px = 0"),
        (broken("a.frame_from_photo.scale", [1, 0]), "scale (1.0, 0.0)"),
        (broken("a.frame_from_photo.scale", [1]), "expected two numbers"),
        (broken("a.frame_from_photo.offset_px", ["0", 0]), "expected two numbers"),
        (broken("a.name", "c.jpg"), "expected two in name order"),
        (broken("settings", {"x": []}), "expected text, numbers, true or false"),
        (broken("got.num_frames", "5"), "num_frames = '5'"),
    ],
)
def test_a_broken_record_is_refused_with_its_place_and_not_used(
    text: str, message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = tmp_path / "a__b_0.mp4"
    clip.write_bytes(VIDEO)
    record_path(clip).write_text(text)
    with pytest.raises(ValueError, match=r"a__b_0\.json") as caught:
        read_record(record_path(clip))
    assert message in str(caught.value)
    assert record_of(clip) is None
    assert "not used" in caplog.text
    assert store(tmp_path).find("k0") is None


def test_a_record_of_another_file_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with store(tmp_path).locked():
        path = store(tmp_path).save(record(), VIDEO, 0).path
    path.write_bytes(encode_mp4(FRAMES[::-1], 8.0))
    assert record_of(path) is None
    assert "another file" in caplog.text
    assert store(tmp_path).find("k0") is None
    assert "made anew" in caplog.text
