"""Runway's video models, through the official SDK ``runwayml``."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar

from interpose_sfm.products import ImageArray
from interpose_sfm.video_models.hosted.calls import address_of, amount_usd, text_of
from interpose_sfm.video_models.hosted.catalogue import RUNWAY_MODELS, HostedSpec
from interpose_sfm.video_models.hosted.model import HostedModel
from interpose_sfm.video_models.hosted.pictures import png_bytes
from interpose_sfm.video_models.hosted.reports import TaskReport, TaskState
from interpose_sfm.video_models.protocol import ClipTask

USD_PER_CREDIT = 0.01
"""docs.dev.runwayml.com/guides/quickstart."""

MAX_DATA_URI = 5_000_000
"""Characters; larger pictures are uploaded (docs.dev.runwayml.com/assets/inputs)."""


class RunwayModel(HostedModel):
    """A model of Runway that takes a first and a last frame.

    Pictures go along as data URIs, or, where they are too large for that, by Runway's own upload, which deletes them
    again by itself. The base URL can be changed with the SDK's variable RUNWAYML_BASE_URL.
    """

    service = "runway"
    key_variable = "RUNWAYML_API_SECRET"
    key_page = "https://dev.runwayml.com"
    sdk_name = "runwayml"
    models: ClassVar[Mapping[str, HostedSpec]] = RUNWAY_MODELS
    requires: ClassVar[Mapping[str, str]] = MappingProxyType({"runwayml": "pip install 'interpose_sfm[video]'"})

    def build_client(self, sdk: ModuleType, key: str, http_client: Any) -> Any:
        """The SDK's client."""
        return sdk.RunwayML(api_key=key, max_retries=0, http_client=http_client)

    def prepare(self, task: ClipTask) -> dict[str, Any]:
        """The parameters of ``image_to_video.create``."""
        spec = self._spec
        parameters: dict[str, Any] = {
            "model": spec.model,
            "prompt_text": self.prompt(task),
            "duration": self.duration_s(task.format),
            **spec.extras,
        }
        if spec.sends_size:
            parameters["ratio"] = spec.size_name((task.format.width_px, task.format.height_px))
        if spec.has_seed:
            parameters["seed"] = task.seed % 2**32  # the range of the API
        if spec.has_negative_prompt and task.negative_prompt:
            parameters["negative_prompt"] = task.negative_prompt
        parameters["prompt_image"] = [
            {"uri": self._uri(picture, position), "position": position}
            for picture, position in ((task.first, "first"), (task.last, "last"))
        ]
        return parameters

    def create(self, parameters: Mapping[str, Any]) -> Any:
        """Ask for a task."""
        return self.client.image_to_video.create(**parameters)

    def retrieve(self, task_id: str) -> TaskReport:
        """Ask how far a task is."""
        answer = self.client.tasks.retrieve(task_id)
        cost_usd = self.charge_usd(answer)
        if answer.status == "SUCCEEDED":
            url = address_of(next(iter(answer.output or ()), None))
            return TaskReport(state=TaskState.SUCCEEDED, url=url, cost_usd=cost_usd)
        if answer.status in ("FAILED", "CANCELLED"):
            code = text_of(getattr(answer, "failure_code", None), answer.status)
            message = f"{code}: {text_of(getattr(answer, 'failure', None), 'no reason given')}"
            # docs.dev.runwayml.com/errors/task-failures: tasks that moderation rejected are not to be tried again.
            is_refusal = "SAFETY" in code.split(".")
            return TaskReport(state=TaskState.FAILED, message=message, is_refusal=is_refusal, cost_usd=cost_usd)
        return TaskReport(state=TaskState.RUNNING)  # PENDING, THROTTLED, RUNNING

    def charge_usd(self, answer: Any) -> float | None:
        """The final or the largest possible charge for a task."""
        cost = getattr(answer, "cost", None) or getattr(answer, "estimated_cost", None)
        return amount_usd(getattr(cost, "credits", None), USD_PER_CREDIT)

    def _uri(self, picture: ImageArray, position: str) -> str:
        data = png_bytes(picture)
        uri = "data:image/png;base64," + base64.b64encode(data).decode("ascii")
        if len(uri) <= MAX_DATA_URI:
            return uri
        return self.ask(lambda: str(self.client.uploads.create_ephemeral(file=(f"{position}.png", data)).uri))
