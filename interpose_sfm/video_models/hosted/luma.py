"""Luma's video models, through the official SDK ``lumaai``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar

from interpose_sfm.video_models.hosted.calls import ServiceError, Trouble, address_of, task_id, text_of
from interpose_sfm.video_models.hosted.catalogue import LUMA_MODELS, HostedSpec
from interpose_sfm.video_models.hosted.model import HostedModel
from interpose_sfm.video_models.hosted.pictures import PublicFolder
from interpose_sfm.video_models.hosted.reports import TaskReport, TaskState
from interpose_sfm.video_models.protocol import ClipTask

PAGE = 100
_MAX_PAGES = 20
_SETTLING = 2
_MODERATION = re.compile(r"moderat|safety|policy|inappropriate", re.IGNORECASE)


class LumaModel(HostedModel):
    """A model of Luma between two key frames.

    Luma takes pictures by address only: "You should upload and use your own cdn image urls, currently this is the only
    way to pass an image" (docs.lumalabs.ai/docs/video-generation), so the user names a folder that the web can see. The
    addresses differ from clip to clip, which lets a task whose creation was not answered be found in Luma's list. The
    models know no seed. The base URL can be changed with the SDK's variable LUMAAI_BASE_URL.
    """

    service = "luma"
    key_variable = "LUMAAI_API_KEY"
    key_page = "https://lumalabs.ai/dream-machine/api/keys"
    sdk_name = "lumaai"
    models: ClassVar[Mapping[str, HostedSpec]] = LUMA_MODELS
    requires: ClassVar[Mapping[str, str]] = MappingProxyType({"lumaai": "pip install 'interpose_sfm[video]'"})

    def build_client(self, sdk: ModuleType, key: str, http_client: Any) -> Any:
        """The SDK's client."""
        return sdk.LumaAI(auth_token=key, max_retries=0, http_client=http_client)

    def prepare(self, task: ClipTask) -> dict[str, Any]:
        """The parameters of ``generations.create``, once the pictures can be seen from the web."""
        ratio, resolution = self._spec.size_name((task.format.width_px, task.format.height_px)).split(" ")
        first, last = self._public().publish(task.key, task.first, task.last, self._clock)
        return {
            "model": self._spec.model,
            "prompt": self.prompt(task),
            "aspect_ratio": ratio,
            "resolution": resolution,
            "duration": f"{self.duration_s(task.format)}s",
            "keyframes": {"frame0": {"type": "image", "url": first}, "frame1": {"type": "image", "url": last}},
        }

    def create(self, parameters: Mapping[str, Any]) -> Any:
        """Ask for a generation."""
        return self.client.generations.create(**parameters)

    def retrieve(self, task_id: str) -> TaskReport:
        """Ask how far a generation is."""
        generation = self.client.generations.get(task_id)
        if generation.state == "completed":
            return TaskReport(state=TaskState.SUCCEEDED, url=address_of(getattr(generation.assets, "video", None)))
        if generation.state == "failed":
            reason = text_of(generation.failure_reason, "no reason given")
            return TaskReport(state=TaskState.FAILED, message=reason, is_refusal=bool(_MODERATION.search(reason)))
        return TaskReport(state=TaskState.RUNNING)  # queued, dreaming

    def find(self, task: ClipTask) -> str:
        """The generation whose key frames are the pictures of a clip, from Luma's list.

        Raises:
            ServiceError: The list cannot be had, or is longer than what is worth reading.
        """
        self._clock.back_off(_SETTLING)  # the request may still be on its way into the list
        wanted = self._public().urls(task.key)
        for page in range(_MAX_PAGES):
            found, is_last = self.ask(partial(self._look_at, page, wanted))
            if found or is_last:
                return found
        raise ServiceError(Trouble.UNCLEAR, f"not among the last {_MAX_PAGES * PAGE} generations")

    def _look_at(self, page: int, wanted: tuple[str, str]) -> tuple[str, bool]:
        """The generation of these key frames on a page of the list, if it is there; and whether the list ends here."""
        answer = self.client.generations.list(limit=PAGE, offset=page * PAGE)
        for generation in answer.generations:
            if generation.state != "failed" and generation.id and _keyframe_urls(generation) == wanted:
                return task_id(generation.id), False
        return "", not answer.generations or answer.has_more is False

    def tidy(self, task: ClipTask) -> None:
        """Take the pictures out of the public folder."""
        if self._options.public_dir is not None:
            PublicFolder(self._options.public_dir, self._options.public_url).withdraw(task.key)

    def _public(self) -> PublicFolder:
        return PublicFolder.from_options(self._options.public_dir, self._options.public_url, self.service)


def _keyframe_urls(generation: Any) -> tuple[str | None, str | None]:
    keyframes = getattr(generation.request, "keyframes", None)
    first, last = (getattr(getattr(keyframes, name, None), "url", None) for name in ("frame0", "frame1"))
    return first, last
