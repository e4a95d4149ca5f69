"""Text files as editors leave them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from interpose_sfm.clips.files import INDEX_NAME, index_clips
from interpose_sfm.products import ImagePair
from interpose_sfm.retrieval.pair_list import read_pair_file
from interpose_sfm.video_models.prompts import read_prompt_file

PROMPTS = json.dumps({"format": 1, "pairs": [{"a": "a.jpg", "b": "b.jpg", "prompts": [{"text": "a wall"}]}]})
CLIPS = json.dumps([{"a": "a.jpg", "b": "b.jpg", "clips": ["pan.mp4"]}])


def read_pairs(path: Path) -> object:
    return read_pair_file(path, ("a.jpg", "b.jpg"))


def read_prompts(path: Path) -> object:
    return list(read_prompt_file(path))


def read_index(path: Path) -> object:
    path.with_name("pan.mp4").touch()
    path.rename(path.with_name(INDEX_NAME))
    return list(index_clips(path.parent, ("a.jpg", "b.jpg")))


CASES = [
    (read_pairs, "a.jpg b.jpg\n", (("a.jpg", "b.jpg"),)),
    (read_prompts, PROMPTS, [ImagePair("a.jpg", "b.jpg")]),
    (read_index, CLIPS, [ImagePair("a.jpg", "b.jpg")]),
]


@pytest.mark.parametrize(("read", "text", "expected"), CASES, ids=["pairs", "prompts", "clips"])
def test_a_mark_of_the_encoding_is_no_part_of_the_text(
    tmp_path: Path, read: Callable[[Path], object], text: str, expected: object
) -> None:
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read(tmp_path / "file") == expected


@pytest.mark.parametrize(("read", "text", "expected"), CASES, ids=["pairs", "prompts", "clips"])
def test_another_encoding_is_told_with_the_name_of_the_file(
    tmp_path: Path, read: Callable[[Path], object], text: str, expected: object
) -> None:
    (tmp_path / "file").write_bytes(text.encode("utf-16"))
    with pytest.raises(ValueError, match=rf"{tmp_path}/\w+(\.json)? is no text in UTF-8") as caught:
        read(tmp_path / "file")
    assert "codec" not in str(caught.value)
