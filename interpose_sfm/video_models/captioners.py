"""Who says what two photos show: nobody (`template`), a captioning network of transformers, or GPT-4o."""

from __future__ import annotations

import base64
import io
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from interpose_sfm.options import GenerationOptions
from interpose_sfm.products import ImageArray

logger = logging.getLogger(__name__)

BLIP = "Salesforce/blip-image-captioning-large"
GPT = "gpt-4o"

_MAX_TOKENS = 60
_NETWORK_PX = 768
_SERVICE_PX = 512  # what GPT-4o takes as one tile and a half; more tells it nothing about a scene
_TIMEOUT_S = 60.0
_MAX_ATTEMPTS = 4
_LONGEST_WAIT_S = 60.0
_MAX_CAPTION_CHARS = 700

_INSTEAD = "try again later, or set --captioner template or --prompt-file"
_TASK = (
    "The two photos show one static scene from two places. Describe what is common to both, as for a film in which the "
    "camera moves from the first to the second: no people, no motion, no guesses. Answer with a JSON object with the "
    'keys "short" (one line of at most 15 words) and "long" (two or three sentences).'
)


@dataclass(frozen=True)
class Caption:
    """What two photos show together; empty texts say nothing.

    Attributes:
        short: One line.
        long: Some sentences.
    """

    short: str
    long: str


class Captioner(Protocol):
    """Describes what is common to two photos."""

    name: str
    """Tells one captioner from another in the prompt file, so that its captions are not used for another one's."""

    looks_at_photos: bool

    def describe(self, a: ImageArray, b: ImageArray) -> Caption:
        """Describe two (height, width, 3) uint8 RGB photos.

        Raises:
            ValueError, ImportError: It cannot be had or asked; the message says what to do.
        """
        ...

    def close(self) -> None:
        """Free the memory that it holds."""
        ...


def create_captioner(options: GenerationOptions) -> Captioner:
    """The captioner that the options name; loads nothing and asks nobody.

    Raises:
        ValueError: There is none of that name.
    """
    name = options.captioner
    if name == "template":
        return TemplateCaptioner()
    if name == "openai":
        return OpenAiCaptioner()
    kind, _, repo = name.partition(":")
    if name == "blip" or (kind == "transformers" and repo):
        return NetworkCaptioner(repo or BLIP, options.video_device)
    raise ValueError(f"got the captioner {name!r}, expected template, blip, transformers:REPO_OR_PATH, or openai")


class TemplateCaptioner:
    """Says nothing of the scene."""

    name = "template"
    looks_at_photos = False

    def describe(self, a: ImageArray, b: ImageArray) -> Caption:
        """An empty caption."""
        return Caption("", "")

    def close(self) -> None:
        """Nothing to do."""


class NetworkCaptioner:
    """A captioning network of transformers, run here; only safetensors are loaded, and no code of a checkpoint.

    Such networks see one photo at a time. What is said of the first is the short caption, both together the long one.
    """

    looks_at_photos = True
    requires: Mapping[str, str] = MappingProxyType({"transformers": "pip install 'interpose_sfm[video]'"})

    def __init__(self, repo: str, device: str = "auto") -> None:
        """Name the network.

        Args:
            repo: Repository of the hub, or a folder.
            device: As `GenerationOptions.video_device`; of several the first.
        """
        self.name = f"transformers:{repo}"
        self._repo, self._device = repo, device
        self._loaded: tuple[Any, Any] | None = None

    def describe(self, a: ImageArray, b: ImageArray) -> Caption:
        """Caption both photos."""
        said = [self._caption(image) for image in (a, b)]
        short = said[0] or said[1]
        distinct = list(dict.fromkeys(text for text in said if text))
        return Caption(short, "; seen from another place: ".join(distinct))

    def close(self) -> None:
        """Free the memory of the network."""
        if self._loaded is None:
            return
        import gc

        import torch

        self._loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _caption(self, image: ImageArray) -> str:
        import torch

        if self._loaded is None:
            self._loaded = self._load()
        model, processor = self._loaded
        inputs = processor(images=_shrunk(image, _NETWORK_PX), return_tensors="pt")
        with torch.inference_mode():
            tokens = model.generate(
                pixel_values=inputs["pixel_values"].to(model.device), max_new_tokens=_MAX_TOKENS, do_sample=False
            )
        return one_line(processor.batch_decode(tokens, skip_special_tokens=True)[0])

    def _load(self) -> tuple[Any, Any]:
        try:
            from safetensors import SafetensorError
            from transformers import AutoModelForImageTextToText, AutoProcessor
        except ImportError as error:
            raise ImportError(
                f"the captioner {self.name!r} needs transformers: {self.requires['transformers']}"
            ) from error
        from interpose_sfm.video_models.devices import worker_devices

        logger.info("captioner %s, from the hub if it is not here", self._repo)
        try:
            make_processor: Any = AutoProcessor
            processor = make_processor.from_pretrained(self._repo, trust_remote_code=False)
            model: Any = AutoModelForImageTextToText.from_pretrained(
                self._repo, trust_remote_code=False, use_safetensors=True
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"the captioner {self._repo!r} cannot be loaded ({reason}); with a network, get it with: hf download "
                f"{self._repo}, name a folder as transformers:FOLDER, or set --captioner template"
            ) from error
        return model.eval().to(worker_devices(self._device)[0]), processor


class OpenAiCaptioner:
    """GPT-4o, as in the paper; costs about a cent per pair. Address: OPENAI_BASE_URL, else OpenAI's own."""

    name = f"openai:{GPT}"
    looks_at_photos = True
    requires: Mapping[str, str] = MappingProxyType({"openai": "pip install 'interpose_sfm[video]'"})

    def describe(self, a: ImageArray, b: ImageArray) -> Caption:
        """Ask for a caption of both photos, scaled down.

        Raises:
            ValueError: No key, or no usable answer; the message says why, and never shows the key.
        """
        from interpose_sfm.video_models.hosted.calls import ServiceError, Trouble, call, key_from_environment

        key = key_from_environment("OPENAI_API_KEY", "https://platform.openai.com/api-keys")
        try:
            import openai
        except ImportError as error:
            raise ImportError(f"the captioner 'openai' needs its SDK: {self.requires['openai']}") from error
        with openai.OpenAI(api_key=key, max_retries=0, timeout=_TIMEOUT_S) as client:
            for attempt in range(_MAX_ATTEMPTS):
                try:
                    return _read(call(openai, key, lambda: _asked(client, a, b)))
                except ServiceError as error:
                    failure = error
                is_passing = failure.trouble in (Trouble.BUSY, Trouble.UNCLEAR)
                wait_s = failure.retry_after_s or 2.0**attempt
                if not is_passing or attempt == _MAX_ATTEMPTS - 1 or wait_s > _LONGEST_WAIT_S:
                    break
                time.sleep(wait_s)
        what = "does not accept the key in OPENAI_API_KEY" if failure.trouble is Trouble.DENIED else "gives no caption"
        raise ValueError(f"OpenAI {what}: {failure}; {_INSTEAD}")

    def close(self) -> None:
        """Nothing is held."""


def _asked(client: Any, a: ImageArray, b: ImageArray) -> Any:
    """The message of one answer."""
    pictures = [{"type": "image_url", "image_url": {"url": _data_uri(image), "detail": "low"}} for image in (a, b)]
    answer = client.chat.completions.create(
        model=GPT,
        temperature=0,
        max_tokens=300,
        response_format={"type": "json_object"},
        messages=[{"role": "user", "content": [{"type": "text", "text": _TASK}, *pictures]}],
    )
    return answer.choices[0].message


def _read(message: Any) -> Caption:
    if getattr(message, "refusal", None):
        raise ValueError(f"OpenAI refuses to describe the photos; {_INSTEAD}")
    try:
        said = json.loads(message.content or "")
        caption = Caption(one_line(said["short"]), one_line(said["long"]))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"OpenAI gives no caption: its answer is not what was asked for; {_INSTEAD}") from error
    if not caption.short or not caption.long:
        raise ValueError(f"OpenAI gives no caption: its answer is empty; {_INSTEAD}")
    return caption


def one_line(text: str, max_chars: int = _MAX_CAPTION_CHARS) -> str:
    """A text without line breaks and control characters, cut between words if it is too long."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(text) <= max_chars:
        return text
    return text[:max_chars].rpartition(" ")[0] or text[:max_chars]


def _shrunk(image: ImageArray, longer_px: int) -> Any:
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((longer_px, longer_px))
    return picture


def _data_uri(image: ImageArray) -> str:
    buffer = io.BytesIO()
    _shrunk(image, _SERVICE_PX).save(buffer, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
