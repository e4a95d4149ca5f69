"""Google's Veo, through the official SDK ``google-genai``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar

from interpose_sfm.video_models.hosted import google_sdk
from interpose_sfm.video_models.hosted.calls import text_of
from interpose_sfm.video_models.hosted.catalogue import VEO_MODELS, HostedSpec
from interpose_sfm.video_models.hosted.download import MAX_BYTES
from interpose_sfm.video_models.hosted.model import HostedModel
from interpose_sfm.video_models.hosted.pictures import png_bytes
from interpose_sfm.video_models.hosted.reports import TaskReport, TaskState
from interpose_sfm.video_models.protocol import ClipTask

_OPERATION = re.compile(
    r"(?:projects/([a-z0-9:.-]+)/locations/([a-z0-9-]+)/)?publishers/google/models/(.+)/operations/(.+)"
)
_MODERATION = re.compile(r"responsible ai|safety|policy|sensitive|violat", re.IGNORECASE)


@dataclass(frozen=True)
class _Created:
    id: str


class VeoModel(HostedModel):
    """Veo 3.1 between a first and a last frame, which go along in the request; the video comes in the answer.

    It is asked for through the Vertex AI API (now of the Gemini Enterprise Agent Platform) with an API key: release 3.6
    of the SDK makes no videos by the Gemini Developer API any more. The API has no list of operations. The base URL can
    be changed with the SDK's variable GOOGLE_VERTEX_BASE_URL.
    """

    service = "veo"
    key_variable = "GOOGLE_API_KEY"
    key_page = "https://console.cloud.google.com"
    sdk_name = "google.genai"
    max_answer_bytes = MAX_BYTES * 4 // 3 + 1000  # a video in letters
    models: ClassVar[Mapping[str, HostedSpec]] = VEO_MODELS
    requires: ClassVar[Mapping[str, str]] = MappingProxyType(
        dict.fromkeys(("google.genai", "httpx"), "pip install 'interpose_sfm[video]'")
    )

    def build_client(self, sdk: ModuleType, key: str, http_client: Any) -> Any:
        """The SDK's client."""
        return google_sdk.VideoClient(key, http_client)

    def prepare(self, task: ClipTask) -> dict[str, Any]:
        """The parameters of ``models.generate_videos``."""
        from google.genai import types

        spec = self._spec
        ratio, resolution = spec.size_name((task.format.width_px, task.format.height_px)).split(" ")
        first, last = (
            types.Image(image_bytes=png_bytes(picture), mime_type="image/png") for picture in (task.first, task.last)
        )
        config = types.GenerateVideosConfig(
            number_of_videos=1,
            last_frame=last,
            aspect_ratio=ratio,
            resolution=resolution,
            duration_seconds=self.duration_s(task.format),
            seed=task.seed % 2**32,
            negative_prompt=task.negative_prompt or None,
            **spec.extras,
        )
        source = types.GenerateVideosSource(prompt=self.prompt(task), image=first)
        return {"model": spec.model, "source": source, "config": config}

    def create(self, parameters: Mapping[str, Any]) -> Any:
        """Ask for an operation."""
        operation = self.client.create(**parameters)
        found = _OPERATION.fullmatch(str(operation.name))
        if found is None or found[3] != self._spec.model:
            raise ValueError("an answer without the name of an operation of the model")
        return _Created("_".join((found[1] or "", found[2] or "", found[4])))

    def retrieve(self, task_id: str) -> TaskReport:
        """Ask how far an operation is."""
        project, location, operation_id = task_id.split("_", 2)
        where = f"projects/{project}/locations/{location}/" if project else ""
        operation = self.client.get(f"{where}publishers/google/models/{self._spec.model}/operations/{operation_id}")
        if not operation.done:
            return TaskReport(state=TaskState.RUNNING)
        if operation.error:
            message = text_of(operation.error.get("message"), "no reason given")
            return TaskReport(state=TaskState.FAILED, message=message, is_refusal=bool(_MODERATION.search(message)))
        response = operation.response
        videos = (response and response.generated_videos) or []
        if videos and videos[0].video.video_bytes:
            return TaskReport(state=TaskState.SUCCEEDED, file=videos[0].video.video_bytes)
        reasons = (response and response.rai_media_filtered_reasons) or []
        message = text_of("; ".join(map(str, reasons)), "no video, and no reason given")
        return TaskReport(state=TaskState.FAILED, message=message, is_refusal=bool(reasons))

    def _sdk(self) -> ModuleType:
        return google_sdk
