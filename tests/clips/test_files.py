"""Which file of a folder is a clip of which pair."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interpose_sfm.clips.files import index_clips, natural_key, parse_name
from interpose_sfm.products import ImagePair

A, B = "a.jpg", "b.jpg"

PAIR = ImagePair(A, B)


# ---------------------------------------------------------------- file names


KEYS = {
    "a": frozenset({"a.jpg"}),
    "b": frozenset({"b.jpg"}),
    "b_2": frozenset({"b_2.jpg"}),
    "x__y": frozenset({"x__y.jpg"}),
    "sub_b": frozenset({"sub/b.jpg"}),
    "é": frozenset({"é.jpg"}),
    "twin": frozenset({"left/twin.jpg", "right/twin.jpg"}),
    "left_twin": frozenset({"left/twin.jpg"}),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a__b", ("a.jpg", "b.jpg")),
        ("b__a", ("b.jpg", "a.jpg")),
        ("a__b_0", ("a.jpg", "b.jpg")),
        ("a__b_17", ("a.jpg", "b.jpg")),
        ("a__b_ba", ("b.jpg", "a.jpg")),
        ("a__b_3_ba", ("b.jpg", "a.jpg")),
        ("a__b_2_1", ("a.jpg", "b_2.jpg")),
        ("a__b_2_1_ba", ("b_2.jpg", "a.jpg")),
        ("a__x__y", ("a.jpg", "x__y.jpg")),
        ("x__y__a_4", ("x__y.jpg", "a.jpg")),
        ("a__sub_b", ("a.jpg", "sub/b.jpg")),
        ("a__left_twin_1", ("a.jpg", "left/twin.jpg")),
        ("a__e\u0301", ("a.jpg", "é.jpg")),
        ("a__c", None),
        ("a_b", None),
        ("a__b_ba_3", None),
        ("a__b_x", None),
        ("a__a", None),
    ],
)
def test_names(text: str, expected: tuple[str, str] | None) -> None:
    assert parse_name(text, KEYS) == expected


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [("a__b_2", "'b.jpg'", "'b_2.jpg'"), ("a__twin", "'left/twin.jpg'", "'right/twin.jpg'")],
)
def test_an_ambiguous_name_is_refused_and_both_readings_are_named(text: str, first: str, second: str) -> None:
    with pytest.raises(ValueError, match="can mean") as caught:
        parse_name(text, KEYS)
    assert first in str(caught.value)
    assert second in str(caught.value)


def test_the_folder_is_indexed_by_pair_in_natural_order(tmp_path: Path) -> None:
    for name in (
        "a__b_10.mp4",
        "a__b_9.MP4",
        "b__a.webm",
        "a__b.txt",
        "other__b.mp4",
        "notes.mp4",
        "a.png__b.jpg_1.gif",
    ):
        (tmp_path / name).touch()
    (tmp_path / "left_a__b").mkdir()
    names = ["a.png", "b.jpg", "left/a.png"]
    with pytest.raises(ValueError, match=r"'a\.png' to 'b\.jpg' or 'left/a\.png' to 'b\.jpg'"):
        index_clips(tmp_path, names)
    found = index_clips(tmp_path, ["a.png", "b.jpg", "left/c.png"])
    assert list(found) == [ImagePair("a.png", "b.jpg")]
    files = found[ImagePair("a.png", "b.jpg")]
    assert [f.name for f in files] == ["a.png__b.jpg_1.gif", "a__b_9.MP4", "a__b_10.mp4", "b__a.webm"]
    assert [(f.first, f.last) for f in files][-2:] == [("a.png", "b.jpg"), ("b.jpg", "a.png")]


def test_natural_order() -> None:
    assert sorted(["f10.png", "f2.png", "F1.png", "f02b.png"], key=natural_key) == [
        "F1.png",
        "f2.png",
        "f02b.png",
        "f10.png",
    ]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        index_clips(tmp_path / "nowhere", [A, B])


# ---------------------------------------------------------------- clips.json


def test_json_gives_pairs_directions_and_order(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("deep/pan.mp4", "z.mov", "a__b.mp4"):
        (tmp_path / name).touch()
    entries = [
        {"a": A, "b": B, "clips": ["z.mov", {"file": "deep/pan.mp4", "backwards": True}, "a__b.mp4"]},
        {"a": A, "b": "lost.jpg", "clips": ["z.mov"]},
    ]
    (tmp_path / "clips.json").write_text(json.dumps(entries))
    found = index_clips(tmp_path, [A, B])
    assert [(f.name, f.first) for f in found[PAIR]] == [("z.mov", A), ("deep/pan.mp4", B), ("a__b.mp4", A)]
    assert list(found) == [PAIR]
    (tmp_path / "clips.json").write_text(json.dumps(entries), encoding="utf-8-sig")  # as editors on Windows save it
    assert index_clips(tmp_path, [A, B]) == found


ENTRY = {"a": A, "b": B}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ({"a": A}, "expected a list"),
        ([3], "entry 0: got int"),
        ([{"a": A, "b": B}], "exactly 'a', 'b' and 'clips'"),
        ([{**ENTRY, "clips": [], "extra": 1}], "exactly 'a', 'b' and 'clips'"),
        ([{"a": A, "b": A, "clips": []}], "two different photos"),
        ([{"a": A, "b": 3, "clips": []}], "two different photos"),
        ([{**ENTRY, "clips": "x.mp4"}], "expected a list"),
        ([{**ENTRY, "clips": [3]}], "expected a path or an object"),
        ([{**ENTRY, "clips": [{"path": "x.mp4"}]}], "expected a path or an object"),
        ([{**ENTRY, "clips": [{"file": "x.mp4", "speed": 2}]}], "expected a path or an object"),
        ([{**ENTRY, "clips": [{"file": "x.mp4", "backwards": "yes"}]}], "true or false"),
        ([{**ENTRY, "clips": [""]}], "to be text"),
        ([{**ENTRY, "clips": ["x\0.mp4"]}], "to be text"),
        ([{**ENTRY, "clips": ["missing.mp4"]}], "does not exist"),
        ([{**ENTRY, "clips": ["../outside.mp4"]}], "leads out"),
        ([{**ENTRY, "clips": ["/etc/passwd"]}], "leads out"),
        ([{**ENTRY, "clips": ["link.mp4"]}], "leads out"),
        ([{**ENTRY, "clips": ["."]}], "leads out"),
        ([{**ENTRY, "clips": ["x.mp4", {"file": "./x.mp4", "backwards": True}]}], "listed twice"),
    ],
)
def test_json_errors_say_where_and_what(tmp_path: Path, content: object, message: str) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "x.mp4").touch()
    (tmp_path / "outside.mp4").touch()
    (folder / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    raw = (
        content
        if isinstance(content, bytes)
        else (content if isinstance(content, str) else json.dumps(content)).encode()
    )
    (folder / "clips.json").write_bytes(raw)
    with pytest.raises(ValueError, match=message) as caught:
        index_clips(folder, [A, B])
    assert "clips.json" in str(caught.value)
