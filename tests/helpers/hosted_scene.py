"""What the tests of the hosted models share: keys, clocks that do not wait, tasks and journals."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from _pytest.mark import ParameterSet

from api_servers import KEY, ApiServer, LumaAgentsServer, LumaServer, RunwayServer, VeoServer
from interpose_sfm.options import GenerationOptions
from interpose_sfm.products import ClipFormat
from interpose_sfm.video_models.clip_store import Task
from interpose_sfm.video_models.hosted.clock import Clock
from interpose_sfm.video_models.hosted.luma import LumaModel
from interpose_sfm.video_models.hosted.luma_agents import LumaAgentsModel
from interpose_sfm.video_models.hosted.model import HostedModel
from interpose_sfm.video_models.hosted.runway import RunwayModel
from interpose_sfm.video_models.hosted.veo import VeoModel
from interpose_sfm.video_models.protocol import ClipTask

MODELS: dict[str, type[HostedModel]] = {
    "runway": RunwayModel,
    "luma": LumaModel,
    "luma-agents": LumaAgentsModel,
    "veo": VeoModel,
}
SERVERS: dict[str, type[ApiServer]] = {
    "runway": RunwayServer,
    "luma": LumaServer,
    "luma-agents": LumaAgentsServer,
    "veo": VeoServer,
}
VARIABLES = {"runway": "RUNWAYML", "luma": "LUMAAI", "luma-agents": "LUMA", "veo": "GOOGLE_VERTEX"}
INSTALLED = {name: not kind.missing_requirements() for name, kind in MODELS.items()}


def services(*names: str) -> list[ParameterSet]:
    """Parameters of a test; skipped where the SDK is not installed. That of Google takes seconds to build a client."""
    return [
        pytest.param(
            name,
            marks=[
                pytest.mark.skipif(not INSTALLED[name], reason=f"needs the SDK of {name}"),
                *([pytest.mark.long] if name == "veo" else []),
            ],
        )
        for name in names or MODELS
    ]


@dataclass
class Waiting:
    """A clock that jumps instead of waiting."""

    now_s: float = 0.0
    waits_s: list[float] = field(default_factory=list)

    def clock(self) -> Clock:
        return Clock(now_s=lambda: self.now_s, sleep=self._sleep, chance=lambda: 0.0)

    def _sleep(self, duration_s: float) -> None:
        self.waits_s.append(duration_s)
        self.now_s += duration_s


def use_server(monkeypatch: pytest.MonkeyPatch, service: str, server: ApiServer, key: str = KEY) -> None:
    """Lead the SDK to a local server, by its own variables."""
    monkeypatch.setenv(f"{VARIABLES[service]}_BASE_URL", server.url)
    monkeypatch.setenv(MODELS[service].key_variable, key)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def model(service: str, waiting: Waiting | None = None, name: str = "", **options: object) -> HostedModel:
    """A model that may spend ten dollars and does not wait."""
    chosen = GenerationOptions(**{"max_cost": 10.0, **options})  # type: ignore[arg-type]
    return MODELS[service](name or service, chosen, "", clock=(waiting or Waiting()).clock())


def task(clip_format: ClipFormat, key: str = "a clip", seed: int = 7) -> ClipTask:
    """Two flat pictures with a mark each, small on the wire."""
    first = np.full((clip_format.height_px, clip_format.width_px, 3), 90, np.uint8)
    last = np.full_like(first, 160)
    first[:40, :40] = (200, 30, 30)
    last[-40:, -40:] = (30, 30, 200)
    return ClipTask(key=key, first=first, last=last, prompt="a courtyard", seed=seed, format=clip_format)


def journal(folder: Path) -> Task:
    """The journal of a clip, on disk."""
    return Task(folder / "journal.json", 0.4)
