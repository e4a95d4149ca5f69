"""What a video model is told: always the same for a pair, from a file before a captioner, and written down."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridging_scene import generation_context, texture
from interpose_sfm.clips.files import index_clips
from interpose_sfm.products import ImageArray, ImagePair
from interpose_sfm.video_models import prompts
from interpose_sfm.video_models.captioners import Caption
from interpose_sfm.video_models.prompts import (
    FILE_NAME,
    NEGATIVE,
    PairPrompts,
    prompts_of,
    read_prompt_file,
    take_prompts,
)
from interpose_sfm.video_models.protocol import GenerationContext

PHOTOS = {name: texture(seed, 64, 48) for seed, name in enumerate(("a.jpg", "b.jpg", "c.jpg"))}
AB, BC = ImagePair("a.jpg", "b.jpg"), ImagePair("b.jpg", "c.jpg")


class Clerk:
    """A captioner that counts."""

    name = "clerk"
    looks_at_photos = True

    def __init__(self) -> None:
        self.asked: list[tuple[ImageArray, ImageArray]] = []
        self.num_closed = 0

    def describe(self, a: ImageArray, b: ImageArray) -> Caption:
        self.asked.append((a, b))
        return Caption(f"a yard {len(self.asked)}", "a yard with\na well\x07 and a tree.")

    def close(self) -> None:
        self.num_closed += 1


@pytest.fixture
def clerk(monkeypatch: pytest.MonkeyPatch) -> Clerk:
    found = Clerk()
    monkeypatch.setattr(prompts, "create_captioner", lambda options: found)
    return found


def scene(store: Path | None, photos: dict[str, np.ndarray] | None = None, **options: Any) -> GenerationContext:
    return generation_context(photos or PHOTOS, store, **options)


def write(path: Path, pairs: Sequence[Any], **more: Any) -> Path:
    path.write_text(json.dumps({"format": 1, "pairs": pairs, **more}))
    return path


# ---------------------------------------------------------------- texts


def test_there_is_a_short_and_a_longer_prompt_of_a_static_scene(tmp_path: Path) -> None:
    short, long = PairPrompts(scene(tmp_path)).prompts(AB)
    assert len(short.text) < 0.5 * len(long.text)
    for prompt in (short, long):
        assert "static scene" in prompt.text
        assert "camera moves" in prompt.text
        assert prompt.negative == NEGATIVE


def test_captions_come_first_and_clean() -> None:
    short, long = prompts_of(Caption("a yard", "a yard with\na well\x07 and a tree."))
    assert short.text.startswith("a yard. The camera")
    assert long.text.startswith("a yard with a well and a tree. One continuous shot")


@pytest.mark.parametrize("length", [0, 10, 100_000])
def test_prompts_are_of_bounded_length(length: int) -> None:
    for prompt in prompts_of(Caption("word " * length, "word " * length)):
        assert 20 < len(prompt.text) <= prompts.MAX_PROMPT_CHARS
        assert "static scene" in prompt.text


# ---------------------------------------------------------------- who is asked


def test_a_pair_has_the_same_prompts_in_either_order_and_is_asked_about_once(tmp_path: Path, clerk: Clerk) -> None:
    source = PairPrompts(scene(tmp_path))
    first = source.prompts(AB)
    assert source.prompts(ImagePair(AB.b, AB.a)) == first
    assert len(clerk.asked) == 1
    assert np.array_equal(clerk.asked[0][0], PHOTOS["a.jpg"])
    assert source.prompts(BC) != first
    assert len(clerk.asked) == 2


def test_a_second_run_asks_nothing_again(tmp_path: Path, clerk: Clerk) -> None:
    first = PairPrompts(scene(tmp_path)).prompts(AB)  # not even closed: the answer was paid for
    assert PairPrompts(scene(tmp_path)).prompts(AB) == first
    assert len(clerk.asked) == 1


def test_other_photos_of_the_same_names_are_described_anew(tmp_path: Path, clerk: Clerk) -> None:
    PairPrompts(scene(tmp_path)).prompts(AB)
    PairPrompts(scene(tmp_path, {**PHOTOS, "b.jpg": PHOTOS["c.jpg"]})).prompts(AB)
    assert len(clerk.asked) == 2


def test_two_runs_with_one_store_share_what_the_captioner_says(tmp_path: Path, clerk: Clerk) -> None:
    first, second = PairPrompts(scene(tmp_path)), PairPrompts(scene(tmp_path))
    both = second.prompts(AB), first.prompts(BC)
    assert second.prompts(BC) == both[1]
    assert first.prompts(AB) == both[0]
    assert len(clerk.asked) == 2
    first.close()
    assert sorted(read_prompt_file(tmp_path / FILE_NAME)) == [AB, BC]
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_two_runs_that_describe_a_pair_at_once_get_one_answer(
    tmp_path: Path, clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each makes the clips of its own answer."""
    describe, found = clerk.describe, []

    def slowly(a: ImageArray, b: ImageArray) -> Caption:
        time.sleep(0.2)
        return describe(a, b)

    monkeypatch.setattr(clerk, "describe", slowly)
    runs = [PairPrompts(scene(tmp_path)) for _ in range(3)]
    threads = [threading.Thread(target=lambda run=run: found.append(run.prompts(AB))) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * 3
    assert len(clerk.asked) == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_one_run_writes_beside_another_and_takes_nothing_away(tmp_path: Path, clerk: Clerk) -> None:
    first, second = PairPrompts(scene(tmp_path)), PairPrompts(scene(tmp_path))
    first.prompts(AB)
    second.prompts(BC)
    first.prompts(ImagePair("a.jpg", "c.jpg"))
    assert len(read_prompt_file(tmp_path / FILE_NAME)) == 3


def test_prompts_of_another_store_are_taken_over_and_ours_stay(tmp_path: Path, clerk: Clerk) -> None:
    for folder, pairs in (("a", [AB]), ("b", [AB, BC])):
        run = PairPrompts(scene(tmp_path / folder))
        for pair in pairs:
            run.prompts(pair)
        run.close()
    ours, theirs = (read_prompt_file(tmp_path / folder / FILE_NAME) for folder in ("a", "b"))
    assert ours[AB] != theirs[AB]
    take_prompts(tmp_path / "a" / FILE_NAME, tmp_path / "b" / FILE_NAME)
    take_prompts(tmp_path / "a" / FILE_NAME, tmp_path / "nowhere" / FILE_NAME)
    assert read_prompt_file(tmp_path / "a" / FILE_NAME) == {AB: ours[AB], BC: theirs[BC]}


def test_another_captioner_is_asked_again(tmp_path: Path, clerk: Clerk) -> None:
    PairPrompts(scene(tmp_path)).prompts(AB)
    clerk.name = "another"
    PairPrompts(scene(tmp_path)).prompts(AB)
    assert len(clerk.asked) == 2


def test_a_dry_run_asks_nobody_and_writes_nothing_and_says_so(
    tmp_path: Path, clerk: Clerk, caplog: pytest.LogCaptureFixture
) -> None:
    source = PairPrompts(replace(scene(tmp_path / "store"), is_dry_run=True))
    assert source.prompts(AB) == prompts_of(Caption("", ""))
    source.close()
    assert "1 pairs are not described yet" in caplog.text
    assert not clerk.asked
    assert not (tmp_path / "store").exists()


def test_a_dry_run_shows_what_is_known(tmp_path: Path, clerk: Clerk) -> None:
    known = PairPrompts(scene(tmp_path)).prompts(AB)
    assert PairPrompts(replace(scene(tmp_path), is_dry_run=True)).prompts(AB) == known


def test_closing_closes_the_captioner(tmp_path: Path, clerk: Clerk) -> None:
    PairPrompts(scene(tmp_path)).close()
    assert clerk.num_closed == 1


def test_without_a_folder_nothing_is_written(clerk: Clerk) -> None:
    source = PairPrompts(scene(None))
    assert source.prompts(AB)
    source.close()


# ---------------------------------------------------------------- the file


def test_what_a_run_writes_can_be_handed_in(tmp_path: Path, clerk: Clerk) -> None:
    source = PairPrompts(scene(tmp_path / "store"))
    found = {pair: tuple(source.prompts(pair)) for pair in (AB, BC)}
    source.close()
    path = tmp_path / "store" / FILE_NAME
    assert {pair: entry.prompts for pair, entry in read_prompt_file(path).items()} == found
    asked = len(clerk.asked)
    again = PairPrompts(scene(tmp_path / "other", prompt_file=path))
    assert {pair: tuple(again.prompts(pair)) for pair in (AB, BC)} == found
    assert len(clerk.asked) == asked
    again.close()
    known = read_prompt_file(path)
    assert read_prompt_file(tmp_path / "other" / FILE_NAME) == known
    path.write_text(path.read_text(), encoding="utf-8-sig")  # as editors on Windows save it
    assert read_prompt_file(path) == known


def test_the_template_is_written_too(tmp_path: Path) -> None:
    source = PairPrompts(scene(tmp_path))
    source.prompts(AB)
    assert not (tmp_path / FILE_NAME).exists()
    source.close()
    assert read_prompt_file(tmp_path / FILE_NAME)[AB].captioner == "template"
    assert index_clips(tmp_path, tuple(PHOTOS)) == {}  # the folder of clips takes it for no clip


def test_an_edited_file_wins_and_the_captioner_does_the_rest(tmp_path: Path, clerk: Clerk) -> None:
    path = write(
        tmp_path / "mine.json",
        [{"a": "b.jpg", "b": "a.jpg", "prompts": ["a  castle", {"text": "a\x07moat\n"}, "x" * 9999]}],
    )
    source = PairPrompts(scene(tmp_path, prompt_file=path))
    found = [prompt.text for prompt in source.prompts(AB)]
    assert found == ["a castle", "a moat", "x" * prompts.MAX_PROMPT_CHARS]
    assert not clerk.asked
    assert source.prompts(BC)[0].text.startswith("a yard 1.")


def test_prompts_for_photos_that_are_not_here_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "mine.json", [{"a": "a.jpg", "b": "x.jpg", "prompts": ["a castle"]}])
    with caplog.at_level(logging.WARNING):
        PairPrompts(scene(tmp_path, prompt_file=path))
    assert "x.jpg" in caplog.text


GOOD = {"a": "a.jpg", "b": "b.jpg", "prompts": ["x"]}


@pytest.mark.parametrize(
    ("pairs", "where"),
    [
        (["text"], "pairs[0]"),
        ([GOOD, GOOD], "pairs[1]"),
        ([GOOD, {**GOOD, "a": "b.jpg", "b": "a.jpg"}], "pairs[1]"),
        ([{**GOOD, "a": "b.jpg"}], "pairs[0]"),
        ([{**GOOD, "a": 3}], "pairs[0]"),
        ([{**GOOD, "prompts": []}], "pairs[0]"),
        ([{**GOOD, "prompts": "x"}], "pairs[0]"),
        ([{**GOOD, "prompts": [{"text": " "}]}], "pairs[0]"),
        ([{**GOOD, "prompts": ["\x07"]}], "pairs[0]"),
        ([{**GOOD, "prompts": [{"text": "x", "negative": 3}]}], "pairs[0]"),
        ([{**GOOD, "prompts": [None]}], "pairs[0]"),
        ([{**GOOD, "photos": "k"}], "pairs[0]"),
        ({"a": 1}, "pairs"),
    ],
)
def test_a_faulty_file_is_refused_with_the_place(tmp_path: Path, pairs: Any, where: str) -> None:
    path = write(tmp_path / "mine.json", pairs)
    with pytest.raises(ValueError, match=r"mine\.json") as caught:
        PairPrompts(scene(tmp_path, prompt_file=path))
    assert where in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"format": 2, "pairs": []}', "\udce4".encode("utf-8", "surrogateescape")]
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ValueError, match=r"mine\.json"):
        PairPrompts(scene(tmp_path, prompt_file=path))
    with pytest.raises(OSError, match="missing"):
        PairPrompts(scene(tmp_path, prompt_file=tmp_path / "missing.json"))


def test_a_broken_file_of_an_earlier_run_is_made_anew(
    tmp_path: Path, clerk: Clerk, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_text("{")
    PairPrompts(scene(tmp_path)).prompts(AB)
    assert "made anew" in caplog.text
    assert AB in read_prompt_file(tmp_path / FILE_NAME)


def test_an_unknown_captioner_is_refused_with_the_choice(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="template, blip, transformers:REPO_OR_PATH, or openai"):
        PairPrompts(scene(tmp_path, captioner="gpt"))
