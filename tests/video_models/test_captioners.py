"""Captioners: real networks of transformers at tiny size, and GPT-4o as a local server speaks for it."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api_servers import KEY, Answer, ApiServer, Seen
from bridging_scene import generation_context, texture
from interpose_sfm.options import GenerationOptions
from interpose_sfm.products import ImagePair
from interpose_sfm.video_models import captioners
from interpose_sfm.video_models.captioners import Caption, Captioner, create_captioner, one_line
from interpose_sfm.video_models.prompts import PairPrompts

A, B = texture(1, 640, 400), texture(2, 400, 640)
WORDS = ("a", "yard", "with", "stone", "tree", "wall", "of", "green", "the", "door")


def captioner(name: str) -> Captioner:
    return create_captioner(GenerationOptions(captioner=name, video_device="cpu"))


# ---------------------------------------------------------------- by name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("template", "template"),
        ("blip", f"transformers:{captioners.BLIP}"),
        ("transformers:some/where", "transformers:some/where"),
        ("openai", "openai:gpt-4o"),
    ],
)
def test_captioners_have_names_and_load_nothing(name: str, said: str) -> None:
    found = captioner(name)
    assert found.name == said
    assert found.looks_at_photos is (name != "template")
    found.close()


@pytest.mark.parametrize("name", ["gpt", "transformers", "transformers:", "blip:large", "openai:gpt-3"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="template, blip"):
        captioner(name)


def test_the_template_says_nothing() -> None:
    assert captioner("template").describe(A, B) == Caption("", "")


def test_captions_are_one_line_of_bounded_length() -> None:
    assert one_line("a\tyard \n\x00 b\u2028c") == "a yard b c"
    assert len(one_line("word " * 1000)) < 701
    assert not one_line("word " * 1000).endswith("wor")
    assert one_line("x" * 1000) == "x" * 700


# ---------------------------------------------------------------- networks


def tokenizer(folder: Path) -> Any:
    """A word-level tokenizer, made here, in the class that BLIP uses."""
    from transformers import BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *WORDS]))
    return BertTokenizerFast(str(folder / "vocab.txt"))


def save_blip(folder: Path) -> Path:
    """BLIP's own classes with random weights."""
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    torch.manual_seed(0)
    words = tokenizer(folder / "words")
    text = {
        "vocab_size": len(words),
        "hidden_size": 16,
        "encoder_hidden_size": 16,
        "intermediate_size": 24,
        "projection_dim": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "bos_token_id": words.convert_tokens_to_ids("[DEC]"),
        "eos_token_id": words.sep_token_id,
        "sep_token_id": words.sep_token_id,
        "pad_token_id": words.pad_token_id,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "projection_dim": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    }
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision))
    model.save_pretrained(folder)
    images = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(images, words).save_pretrained(folder)
    return folder


def save_git(folder: Path) -> Path:
    """GIT's own classes, another architecture: one decoder over image and text tokens."""
    import torch
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

    torch.manual_seed(0)
    words = tokenizer(folder / "words")
    config = GitConfig(
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 16,
        },
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=words.cls_token_id,
        eos_token_id=words.sep_token_id,
        pad_token_id=words.pad_token_id,
    )
    GitForCausalLM(config).save_pretrained(folder)
    images = CLIPImageProcessor(size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32})
    GitProcessor(images, words).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=[save_blip, save_git])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(request.param(tmp_path_factory.mktemp(request.param.__name__)))


def test_a_network_describes_both_photos(checkpoint: Path) -> None:
    found = captioner(f"transformers:{checkpoint}")
    caption = found.describe(A, B)
    assert caption.short
    assert set(caption.short.split()) <= {*WORDS, "[UNK]", "[DEC]"}
    assert caption.long.startswith(caption.short)
    assert found.describe(A, B) == caption
    found.close()
    assert found.describe(A, B) == caption  # loaded again


def test_the_photos_reach_the_network(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForImageTextToText

    kind = type(AutoModelForImageTextToText.from_pretrained(checkpoint))
    seen = []
    generate = kind.generate

    def spy(self: Any, **arguments: Any) -> Any:
        seen.append(arguments["pixel_values"].numpy())
        return generate(self, **arguments)

    monkeypatch.setattr(kind, "generate", spy)
    captioners.NetworkCaptioner(str(checkpoint), "cpu").describe(A, B)
    assert len(seen) == 2
    assert not np.allclose(seen[0], seen[1])


def test_no_weights_no_caption(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--captioner template"):
        captioner(f"transformers:{tmp_path}").describe(A, B)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    folder = save_blip(tmp_path / "blip")
    model = AutoModelForImageTextToText.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot be loaded"):
        captioner(f"transformers:{folder}").describe(A, B)


def test_damaged_weights_are_told(tmp_path: Path) -> None:
    folder = save_blip(tmp_path / "blip")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be loaded"):
        captioner(f"transformers:{folder}").describe(A, B)


def test_code_of_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    folder = save_blip(tmp_path / "blip")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.Evil", "AutoModelForImageTextToText": "evil.Evil"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="cannot be loaded"):
        captioner(f"transformers:{folder}").describe(A, B)
    assert not (tmp_path / "ran").exists()


# ---------------------------------------------------------------- GPT-4o


class Gpt(ApiServer):
    """The chat completions of OpenAI's API."""

    content: Any = json.dumps({"short": "A stone yard.", "long": "A yard of stone\nwith a tree. The door is green."})
    refusal: str | None = None

    def kind(self, seen: Seen) -> str:
        assert (seen.method, seen.path) == ("POST", "/chat/completions")
        return "chat"

    def is_authorised(self, seen: Seen) -> bool:
        return seen.headers.get("authorization") == f"Bearer {KEY}"

    def other(self, kind: str, seen: Seen) -> Answer:
        message = {"role": "assistant", "content": self.content, "refusal": self.refusal}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        answer = {"id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [choice]}
        return Answer(body=answer)


@pytest.fixture
def gpt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpt]:
    server = Gpt()
    with server.running():
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setattr(captioners.time, "sleep", lambda seconds: None)
        yield server


def test_gpt_is_shown_both_photos_small(gpt: Gpt) -> None:
    caption = captioner("openai").describe(A, B)
    assert caption == Caption("A stone yard.", "A yard of stone with a tree. The door is green.")
    (seen,) = gpt.of_kind("chat")
    assert seen.json["model"] == "gpt-4o"
    uris = [part["image_url"]["url"] for part in seen.json["messages"][0]["content"] if part["type"] == "image_url"]
    sizes = [Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size for uri in uris]
    assert sizes == [(512, 320), (320, 512)]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_asked_again(gpt: Gpt, status: int) -> None:
    gpt.failures["chat"] = [Answer(status, {"error": {"message": "later"}}), Answer(hang_up=True)]
    assert captioner("openai").describe(A, B).short == "A stone yard."
    assert gpt.count("chat") == 3


@pytest.mark.parametrize(
    ("failures", "message", "times"),
    [
        ([Answer(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})], "does not accept the key", 1),
        ([Answer(400, {"error": {"message": "bad picture"}})], "gives no caption", 1),
        ([Answer(429, {"error": {"message": "quota"}}, {"retry-after": "86400"})], "gives no caption", 1),
        ([Answer(503, {"error": {"message": "later"}})] * 9, "gives no caption", 4),
    ],
)
def test_failures_are_told_without_the_key(
    gpt: Gpt, failures: list[Answer], message: str, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    gpt.failures["chat"] = list(failures)
    with caplog.at_level(logging.DEBUG), pytest.raises(ValueError, match=message) as caught:
        captioner("openai").describe(A, B)
    assert gpt.count("chat") == times
    assert KEY not in str(caught.value)
    assert KEY not in caplog.text
    assert "--captioner template" in str(caught.value)


@pytest.mark.parametrize("content", [None, "", "no JSON", "[1]", '{"short": "x"}', '{"short": 1, "long": "x"}'])
def test_an_answer_that_is_no_caption_is_paid_for_once(gpt: Gpt, content: str | None) -> None:
    gpt.content = content
    with pytest.raises(ValueError, match="not what was asked for"):
        captioner("openai").describe(A, B)
    assert gpt.count("chat") == 1


@pytest.mark.parametrize("said", [{"short": "", "long": "x"}, {"short": "x", "long": " \n"}])
def test_an_empty_caption_is_none(gpt: Gpt, said: dict[str, str]) -> None:
    gpt.content = json.dumps(said)
    with pytest.raises(ValueError, match="empty"):
        captioner("openai").describe(A, B)


def test_the_key_is_not_written_beside_the_clips(gpt: Gpt, tmp_path: Path) -> None:
    source = PairPrompts(generation_context({"a.jpg": A, "b.jpg": B}, tmp_path, captioner="openai"))
    source.prompts(ImagePair("a.jpg", "b.jpg"))
    source.close()
    written = (tmp_path / "prompts.json").read_text()
    assert "A stone yard." in written
    assert KEY not in written


def test_a_refusal_is_told(gpt: Gpt) -> None:
    gpt.content, gpt.refusal = None, "I cannot help with that."
    with pytest.raises(ValueError, match="refuses to describe"):
        captioner("openai").describe(A, B)


def test_without_a_key_nobody_is_asked(gpt: Gpt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        captioner("openai").describe(A, B)
    assert not gpt.requests
