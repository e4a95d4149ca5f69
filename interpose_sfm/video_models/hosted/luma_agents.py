"""Luma's video models behind its Agents API, through the official SDK ``luma-agents``."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar

from interpose_sfm.products import ImageArray
from interpose_sfm.video_models.hosted.calls import address_of, text_of
from interpose_sfm.video_models.hosted.catalogue import LUMA_AGENTS_MODELS, HostedSpec
from interpose_sfm.video_models.hosted.model import HostedModel
from interpose_sfm.video_models.hosted.pictures import png_bytes
from interpose_sfm.video_models.hosted.reports import TaskReport, TaskState
from interpose_sfm.video_models.protocol import ClipTask

FRAMES_PER_S = 24
"""Of the grid in which key frames are placed: a clip of five seconds has the positions 0 to 120 (types of the SDK)."""


class LumaAgentsModel(HostedModel):
    """Ray 3.2 between two key frames, which go along in the request.

    The API has no list of generations, and knows no seed. The base URL can be changed with the SDK's variable
    LUMA_BASE_URL.
    """

    service = "luma-agents"
    key_variable = "LUMA_AGENTS_API_KEY"
    key_page = "https://lumalabs.ai"
    sdk_name = "luma_agents"
    models: ClassVar[Mapping[str, HostedSpec]] = LUMA_AGENTS_MODELS
    requires: ClassVar[Mapping[str, str]] = MappingProxyType({"luma_agents": "pip install 'interpose_sfm[video]'"})

    def build_client(self, sdk: ModuleType, key: str, http_client: Any) -> Any:
        """The SDK's client."""
        return sdk.Luma(auth_token=key, max_retries=0, http_client=http_client)

    def prepare(self, task: ClipTask) -> dict[str, Any]:
        """The parameters of ``generations.create``."""
        ratio, resolution = self._spec.size_name((task.format.width_px, task.format.height_px)).split(" ")
        duration_s = self.duration_s(task.format)
        return {
            "model": self._spec.model,
            "type": "video",
            "prompt": self.prompt(task),
            "aspect_ratio": ratio,
            "video": {
                "resolution": resolution,
                "duration": f"{duration_s}s",
                "keyframes": [_inline(task.first), _inline(task.last)],
                "keyframe_indexes": [0, FRAMES_PER_S * duration_s],
            },
        }

    def create(self, parameters: Mapping[str, Any]) -> Any:
        """Ask for a generation."""
        return self.client.generations.create(**parameters)

    def retrieve(self, task_id: str) -> TaskReport:
        """Ask how far a generation is."""
        generation = self.client.generations.get(task_id)
        if generation.state == "completed":
            videos = [output for output in generation.output or () if output.type == "video"]
            return TaskReport(state=TaskState.SUCCEEDED, url=address_of(getattr(next(iter(videos), None), "url", None)))
        if generation.state == "failed":
            code = text_of(generation.failure_code, "failed")
            message = f"{code}: {text_of(generation.failure_reason, 'no reason given')}"
            return TaskReport(state=TaskState.FAILED, message=message, is_refusal=code == "content_moderated")
        return TaskReport(state=TaskState.RUNNING)  # queued, processing


def _inline(picture: ImageArray) -> dict[str, str]:
    return {"data": base64.b64encode(png_bytes(picture)).decode("ascii"), "media_type": "image/png"}
