"""The models behind APIs: every request over a real socket, to local servers that speak the vendors' protocols."""

from __future__ import annotations

import base64
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api_servers import KEY, Answer, ApiServer, RunwayServer, picture, wait_until, web_folder
from hosted_scene import INSTALLED, MODELS, SERVERS, VARIABLES, Waiting, journal, model, services, task, use_server
from interpose_sfm.clips.mp4 import format_of
from interpose_sfm.options import GenerationOptions
from interpose_sfm.products import ClipFormat
from interpose_sfm.video_models.hosted import calls
from interpose_sfm.video_models.hosted import model as hosted_model
from interpose_sfm.video_models.hosted.clock import Clock
from interpose_sfm.video_models.hosted.download import DownloadError, fetch
from interpose_sfm.video_models.protocol import GenerationError
from paths import HELPERS

SMALL = ClipFormat(width_px=640, height_px=640, num_frames=96, fps=24.0)
ALL = pytest.mark.parametrize("service", services())
WITH_FILES = pytest.mark.parametrize("service", services("runway", "luma", "luma-agents"))
WITHOUT_LIST = pytest.mark.parametrize("service", services("runway", "luma-agents", "veo"))
# What a report says of a task that failed: by moderation, and otherwise.
FAILURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "runway": (
        {"status": "FAILED", "failure": "moderated", "failureCode": "SAFETY.INPUT.TEXT", "cost": {"credits": 0}},
        {"status": "FAILED", "failure": "bad", "failureCode": "INTERNAL.BAD_OUTPUT.CODE01", "cost": {"credits": 0}},
    ),
    "luma": (
        {"state": "failed", "failure_reason": "400: Advanced moderation failed"},
        {"state": "failed", "failure_reason": "a worker died"},
    ),
    "luma-agents": (
        {"state": "failed", "failure_code": "content_moderated", "failure_reason": "moderated"},
        {"state": "failed", "failure_code": "generation_failed", "failure_reason": "a worker died"},
    ),
    "veo": (
        {
            "done": True,
            "response": {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": ["moderated: code 58061214"]},
        },
        {"done": True, "error": {"code": 13, "message": "a worker died"}},
    ),
}


class Scene:
    """A service with its server, and a folder that the web sees."""

    def __init__(self, service: str, server: ApiServer, tmp_path: Path, public_url: str) -> None:
        self.service, self.server = service, server
        self.public, self.public_url = tmp_path / "public", public_url
        self.waiting = Waiting()
        self.journal = journal(tmp_path)
        self._options = {"public_dir": self.public, "public_url": public_url} if service == "luma" else {}

    def model(self, **options: object) -> hosted_model.HostedModel:
        choices: dict[str, dict[str, Any]] = {
            "runway": {"name": "runway:seedance2"},
            "luma": {"video_long_side_px": 960},
            "luma-agents": {"video_long_side_px": 640, "clip_price": 0.5},
            "veo": {},
        }
        name = choices[self.service]
        return model(self.service, self.waiting, **{**name, **self._options, **options})

    def task_id(self, number: str) -> str:
        """As notes have it; Google's has a place for project and region."""
        return f"{'__' if self.service == 'veo' else ''}task-{number}"

    @property
    def format(self) -> ClipFormat:
        return SMALL if self.service == "runway" else self.model().format_for((160, 90))

    def make(self, **options: object) -> bytes:
        made = self.model(**options).make(task(self.format), self.journal)
        assert made.revision
        assert made.cost_usd > 0
        return made.file


@pytest.fixture
def scene(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    (tmp_path / "public").mkdir()
    server = SERVERS[service]()
    with server.running(), web_folder(tmp_path / "public") as public_url:
        use_server(monkeypatch, service, server)
        yield Scene(service, server, tmp_path, public_url)


# ---------------------------------------------------------------- the way a clip takes


@ALL
def test_a_clip_is_created_polled_and_fetched(scene: Scene) -> None:
    scene.server.num_polls = 3
    data = scene.make()
    assert format_of(data).num_frames == 12
    file = [] if scene.service == "veo" else ["file"]  # whose video is part of the answer
    assert [kind for kind, _ in scene.server.requests] == ["create", "poll", "poll", "poll", *file]
    assert scene.waiting.waits_s == pytest.approx([5.0, 6.0])  # Runway: not more often than every five seconds
    assert scene.journal.read()["task"] == scene.task_id("0001")


@ALL
def test_the_services_get_both_pictures_unchanged(scene: Scene) -> None:
    wanted = task(scene.format)
    scene.model().make(wanted, scene.journal)
    (first, last), *_ = scene.server.pictures.values()
    np.testing.assert_array_equal(first, wanted.first)
    np.testing.assert_array_equal(last, wanted.last)


@pytest.mark.parametrize("service", ["runway"])
def test_runway_is_asked_with_what_its_types_name(scene: Scene) -> None:
    scene.make()
    sent = scene.server.of_kind("create")[0].json
    images = sent.pop("promptImage")
    assert [image["position"] for image in images] == ["first", "last"]
    assert sent == {
        "model": "seedance2",
        "promptText": "a courtyard",
        "duration": 4,
        "ratio": "640:640",
        "seed": 7,
        "audio": False,
    }


@pytest.mark.parametrize("service", ["luma"])
def test_luma_is_asked_with_what_its_types_name(scene: Scene) -> None:
    scene.make()
    sent = scene.server.of_kind("create")[0].json
    urls = [sent["keyframes"].pop(name).pop("url") for name in ("frame0", "frame1")]
    assert len(set(urls)) == 2
    del sent["keyframes"]
    assert sent == {
        "model": "ray-2",
        "prompt": "a courtyard",
        "aspect_ratio": "16:9",
        "resolution": "540p",
        "duration": "5s",
    }


@pytest.mark.parametrize("service", services("luma-agents"))
def test_luma_agents_is_asked_with_what_its_types_name(scene: Scene) -> None:
    scene.make(video_frames=240)
    sent = scene.server.of_kind("create")[0].json
    del sent["video"]["keyframes"]  # looked at by the server
    assert sent == {
        "model": "ray-3.2",
        "type": "video",
        "prompt": "a courtyard",
        "aspect_ratio": "16:9",
        "video": {"resolution": "360p", "duration": "5s", "keyframe_indexes": [0, 120]},
    }


@pytest.mark.parametrize("service", services("veo"))
def test_veo_is_asked_with_what_its_types_name(scene: Scene) -> None:
    scene.make()
    seen = scene.server.of_kind("create")[0]
    assert seen.path.endswith("publishers/google/models/veo-3.1-generate-001:predictLongRunning")
    sent = seen.json
    (instance,) = sent.pop("instances")
    assert set(instance) == {"prompt", "image", "lastFrame"}
    assert sent == {
        "parameters": {
            "sampleCount": 1,
            "durationSeconds": 4,
            "seed": 7,
            "aspectRatio": "16:9",
            "resolution": "720p",
            "generateAudio": False,
        }
    }


@pytest.mark.parametrize("service", services("veo"))
def test_veo_goes_on_with_an_operation_of_a_project(scene: Scene) -> None:
    """Project and region are part of an operation's name, by which alone it can be asked for."""
    report = scene.server.running_report
    where = "projects/my-project/locations/us-central1/"
    scene.server.running_report = lambda task_id: {"name": where + report(task_id)["name"]}  # type: ignore[method-assign]
    scene.make()
    assert scene.journal.read()["task"] == "my-project_us-central1_task-0001"
    assert scene.server.of_kind("poll")[0].json["operationName"].startswith(where)


@pytest.mark.parametrize("service", services("veo"))
@pytest.mark.parametrize("cut", [0, 100])
def test_a_video_in_an_answer_is_decoded_to_its_end(scene: Scene, cut: int) -> None:
    whole = scene.make()
    scene.journal.write({"state": "created", "task": scene.task_id("0001")})
    video = {"bytesBase64Encoded": base64.b64encode(whole[:cut]).decode(), "mimeType": "video/mp4"}
    scene.server.outcome = lambda _: {"done": True, "response": {"videos": [video]}}
    with pytest.raises(GenerationError):
        scene.make()
    assert scene.server.count("create") == 1


@pytest.mark.parametrize("service", ["luma"])
def test_published_pictures_are_taken_back(scene: Scene) -> None:
    scene.make()
    assert not list(scene.public.iterdir())


@pytest.mark.parametrize("service", ["luma"])
def test_luma_needs_a_folder_that_the_web_sees(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--public-dir.*--public-url"):
        scene.make(public_url="")
    with pytest.raises(ValueError, match="not seen at --public-url"):
        scene.make(public_url=scene.server.url)
    assert scene.server.count("create") == 0
    assert scene.journal.read() == {}


@pytest.mark.parametrize("service", ["runway"])
def test_pictures_too_large_for_a_data_uri_are_uploaded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interpose_sfm.video_models.hosted.runway.MAX_DATA_URI", 1000)
    wanted = task(scene.format)
    scene.model().make(wanted, scene.journal)
    assert scene.server.count("upload") == scene.server.count("bucket") == 2
    (first, last), *_ = scene.server.pictures.values()
    np.testing.assert_array_equal(first, wanted.first)
    np.testing.assert_array_equal(last, wanted.last)


@pytest.mark.parametrize("service", ["runway"])
def test_the_cost_is_what_the_service_charged(scene: Scene) -> None:
    assert scene.model().make(task(SMALL), scene.journal).cost_usd == pytest.approx(0.40)  # 40 credits


@pytest.mark.parametrize("service", ["runway"])
def test_a_charge_above_the_price_list_is_said(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    RunwayServer.CREDITS, before = 400, RunwayServer.CREDITS
    try:
        scene.make()
    finally:
        RunwayServer.CREDITS = before
    assert "charges up to $4.00 for a clip, expected were $1.44" in caplog.text


# ---------------------------------------------------------------- never paid twice


@ALL
def test_a_second_model_goes_on_with_the_task_of_the_first(scene: Scene) -> None:
    scene.server.num_polls = 10_000
    with pytest.raises(GenerationError, match=r"task-0001 is not finished after 30 minutes") as caught:
        scene.make()
    assert not caught.value.is_final
    scene.server.num_polls = 1
    scene.make()
    assert scene.server.count("create") == 1


@ALL
def test_a_killed_run_goes_on_with_its_task(scene: Scene, tmp_path: Path) -> None:
    scene.server.num_polls = 10_000
    public = f"public_dir=Path({str(scene.public)!r}), public_url={scene.public_url!r}"
    script = f"""
import sys
sys.path.insert(0, {str(HELPERS)!r})
from pathlib import Path
from hosted_scene import MODELS, journal, task
from interpose_sfm.options import GenerationOptions
options = GenerationOptions(max_cost=10.0, clip_price=0.5, {public})
model = MODELS[{scene.service!r}]({scene.service!r}, options)
model.make(task(model.format_for((160, 90))), journal(Path({str(tmp_path)!r})))
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        wait_until(lambda: scene.server.count("poll") >= 1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    scene.server.num_polls = 1
    name = {"name": scene.service}
    made = scene.model(**name, video_long_side_px=None, clip_price=0.5).make(
        task(scene.model(**name).format_for((160, 90))), scene.journal
    )
    assert format_of(made.file)
    assert scene.server.count("create") == 1
    assert {seen.path.split("/")[-1] for seen in scene.server.of_kind("poll")} == {"task-0001"}
    assert not list(scene.public.iterdir())


@ALL
def test_the_note_is_on_disk_before_the_request_is(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    handle = scene.server.handle
    monkeypatch.setattr(
        scene.server, "handle", lambda seen: [states.append(scene.journal.read()["state"]), handle(seen)][1]
    )
    scene.make()
    assert states == ["creating", "created", *(["created"] if scene.service != "veo" else [])]


@WITHOUT_LIST
def test_a_service_without_list_is_not_asked_again_when_its_answer_was_lost(scene: Scene) -> None:
    scene.server.swallow_creates = 1
    for _ in range(2):  # in this run, and in the next
        with pytest.raises(GenerationError, match=r"may have been paid.*--repeat-lost") as caught:
            scene.make()
        assert not caught.value.is_final
    assert scene.server.count("create") == 1
    scene.make(repeat_lost=True)
    assert scene.server.count("create") == 2


@pytest.mark.parametrize("service", ["luma"])
def test_luma_finds_the_task_whose_answer_was_lost(scene: Scene) -> None:
    scene.server.swallow_creates = 1
    scene.make()
    assert scene.server.count("create") == 1
    assert scene.server.count("list") == 1


@pytest.mark.parametrize("service", ["luma"])
def test_luma_looks_through_its_whole_list_after_a_kill(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interpose_sfm.video_models.hosted.luma.PAGE", 2)
    scene.server.swallow_creates = 1
    scene.server.failures["list"] = [Answer(hang_up=True)] * hosted_model.MAX_ATTEMPTS
    with pytest.raises(GenerationError, match="not known whether the request"):
        scene.make()
    for number in range(4):  # of other clips, made since
        other = journal(scene.journal.path.parent / str(number))
        other.path.parent.mkdir()
        scene.model().make(task(scene.format, key=str(number)), other)
    scene.make()
    assert scene.server.count("create") == 5
    assert scene.server.of_kind("poll")[-1].path.endswith("task-0001")


@pytest.mark.parametrize("service", ["luma"])
def test_luma_creates_what_is_not_in_its_list(scene: Scene) -> None:
    scene.server.failures["create"] = [Answer(hang_up=True)]  # before it did anything
    scene.make()
    assert scene.server.count("create") == 2
    assert len(scene.server.tasks) == 1


@ALL
def test_a_vanished_task_is_made_again_only_if_allowed(scene: Scene) -> None:
    scene.journal.write({"state": "created", "task": scene.task_id("9999")})
    with pytest.raises(GenerationError, match=r"task-9999 was paid for"):
        scene.make()
    assert scene.server.count("create") == 0
    scene.make(repeat_lost=True)
    assert scene.server.count("create") == 1


@ALL
def test_nothing_is_spent_without_leave(scene: Scene) -> None:
    for limit in (None, 0.01):
        with pytest.raises(ValueError, match=r"a clip costs \$[0-9.]+ and .* may be spent; allow it with --max-cost"):
            scene.make(max_cost=limit)
    assert not scene.server.requests


# ---------------------------------------------------------------- failures


@ALL
@pytest.mark.parametrize("where", ["create", "poll"])
def test_a_wrong_key_names_its_variable_and_not_itself(
    scene: Scene, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    if where == "poll":
        scene.journal.write({"state": "created", "task": scene.task_id("0001")})
    wrong = "key_" + "fedcba9876543210" * 8
    use_server(monkeypatch, scene.service, scene.server, wrong)
    with pytest.raises(ValueError, match=scene.model().key_variable) as caught:
        scene.make()
    text = f"{caught.value!r} {caught.value.__context__!r} {caplog.text} {scene.journal.read()}"
    assert "fedcba98" not in text
    assert "HTTP 401" in text
    assert scene.server.count(where) == 1


@ALL
def test_the_key_appears_nowhere(scene: Scene, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    scene.server.failures["poll"] = [Answer(500, {"error": f"oops {KEY}"})]
    hosted = scene.model()
    made = hosted.make(task(scene.format), scene.journal)
    assert KEY.encode() not in made.file
    assert "HTTP 500 oops ***" in caplog.text
    logged = "\n".join(f"{record.getMessage()} {record.args!r}" for record in caplog.records if record.name != "root")
    assert "0123456789abcdef" not in logged + repr(hosted) + repr(hosted.settings) + scene.journal.path.read_text()
    assert all("authorization" not in seen.headers for seen in scene.server.of_kind("file"))


@ALL
@pytest.mark.parametrize("key", ["", "  ", "two words", "nul\0", "clé"])
def test_keys_that_are_none_are_refused_before_any_request(
    scene: Scene, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, scene.model().key_variable: key})
    with pytest.raises(ValueError, match=scene.model().key_variable) as caught:
        scene.make()
    assert not key.strip() or key not in str(caught.value)
    assert not scene.server.requests


@ALL
def test_a_busy_service_is_asked_again_after_the_time_it_names(scene: Scene) -> None:
    scene.server.failures["create"] = [Answer(429, {"error": "slow down"}, {"retry-after": "37"}), Answer(503)]
    scene.server.failures["poll"] = [Answer(429, {"error": "slow down"}, {"retry-after": "3"}), Answer(500)]
    scene.make()
    assert scene.waiting.waits_s == pytest.approx([37.0, 4.0, 3.0, 4.0])
    assert len(scene.server.tasks) == 1


@ALL
def test_a_quota_of_hours_is_left_to_the_next_run(scene: Scene) -> None:
    scene.server.failures["create"] = [Answer(429, {"error": "daily limit"}, {"retry-after": "40000"})]
    with pytest.raises(GenerationError, match="daily limit; no task was created"):
        scene.make()
    assert scene.waiting.waits_s == []
    assert scene.journal.read() == {}
    assert not list(scene.public.iterdir())


@ALL
def test_patience_ends(scene: Scene) -> None:
    scene.server.failures["create"] = [Answer(503)] * 100
    with pytest.raises(GenerationError, match="HTTP 503; no task was created") as caught:
        scene.make()
    assert not caught.value.is_final
    assert scene.server.count("create") == hosted_model.MAX_ATTEMPTS
    assert scene.waiting.waits_s == pytest.approx([2, 4, 8, 16, 32, 60, 60])


@WITHOUT_LIST
def test_a_crash_during_a_creation_is_unclear(scene: Scene) -> None:
    scene.server.failures["create"] = [Answer(500, {"error": "oops"})]
    with pytest.raises(GenerationError, match="--repeat-lost"):
        scene.make()
    scene.server.failures["create"] = [Answer(500, {}, {"x-should-retry": "true"})]
    scene.make(repeat_lost=True)
    assert scene.server.count("create") == 3


@ALL
def test_requests_that_are_refused_are_not_repeated(scene: Scene) -> None:
    scene.server.failures["create"] = [Answer(400, {"error": "prompt is bad", "detail": "prompt is bad"})]
    with pytest.raises(GenerationError, match="HTTP 400 prompt is bad") as caught:
        scene.make()
    assert caught.value.is_final
    assert scene.server.count("create") == 1
    assert scene.journal.read() == {}


@ALL
def test_an_empty_account_is_for_the_user_to_mend(scene: Scene) -> None:
    message = "You do not have enough credits to run this task"
    scene.server.failures["create"] = [Answer(400, {"error": message, "detail": message})]
    with pytest.raises(ValueError, match=r"paid first.*enough credits"):
        scene.make()


@ALL
def test_moderation_is_final(scene: Scene) -> None:
    scene.server.outcome = lambda _: FAILURES[scene.service][0]
    with pytest.raises(GenerationError, match=r"moderat") as caught:
        scene.make()
    assert caught.value.is_final
    assert scene.journal.read() == {}  # nothing was charged
    assert not list(scene.public.iterdir())


@ALL
def test_other_failures_may_be_asked_for_again(scene: Scene) -> None:
    scene.server.outcome = lambda _: FAILURES[scene.service][1]
    with pytest.raises(GenerationError) as caught:
        scene.make()
    assert not caught.value.is_final
    scene.server.outcome = None
    scene.make()
    assert scene.server.count("create") == 2


@pytest.mark.parametrize("service", ["runway"])
def test_a_failure_that_was_charged_is_not_paid_for_again(scene: Scene) -> None:
    scene.server.outcome = lambda _: {
        "status": "FAILED",
        "failure": "bad",
        "failureCode": "INTERNAL",
        "cost": {"credits": 20},
    }
    for _ in range(2):
        with pytest.raises(GenerationError, match=r"\$0.20 were charged") as caught:
            scene.make()
        assert caught.value.is_final
    assert scene.server.count("create") == 1


@WITH_FILES
@pytest.mark.parametrize(
    "broken",
    [
        Answer(body=b"x" * 5000, cut_bytes=1000),
        Answer(body=b"no video at all"),
        Answer(403, {"error": "the signature has expired"}),
        Answer(hang_up=True),
    ],
    ids=["truncated", "no video", "expired", "broken off"],
)
def test_broken_downloads_are_repeated_without_paying(scene: Scene, broken: Answer) -> None:
    scene.server.failures["file"] = [broken]
    assert format_of(scene.make()).num_frames == 12
    assert scene.server.count("file") == 2
    assert scene.server.count("poll") == 2  # for a fresh address
    assert scene.server.count("create") == 1


@WITH_FILES
def test_a_video_that_is_cut_where_its_length_says_is_found_by_decoding(scene: Scene) -> None:
    whole = scene.make()
    scene.journal.write({"state": "created", "task": scene.task_id("0001")})
    scene.server.failures["file"] = [Answer(body=whole[: len(whole) // 2])]
    assert scene.make() == whole


@WITH_FILES
def test_a_file_that_never_arrives_is_left_to_the_next_run(scene: Scene) -> None:
    scene.server.failures["file"] = [Answer(500)] * hosted_model.MAX_DOWNLOADS
    with pytest.raises(GenerationError, match=r"task-0001 is finished.*without paying again") as caught:
        scene.make()
    assert not caught.value.is_final
    scene.make()
    assert scene.server.count("create") == 1


@ALL
def test_a_service_that_cannot_be_reached_is_asked_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{VARIABLES[scene.service]}_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(GenerationError, match="cannot be reached; no task was created"):
        scene.make()
    assert len(scene.waiting.waits_s) == hosted_model.MAX_ATTEMPTS - 1
    assert scene.journal.read() == {}


def test_only_the_web_is_fetched_from(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    for url in (secret.as_uri(), "ftp://127.0.0.1/x", "http://", ""):
        with pytest.raises(DownloadError, match="none of the web"):
            fetch(url)


# ---------------------------------------------------------------- small parts


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "12"}, 12),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float) -> None:
    assert calls.retry_after_s(headers) == pytest.approx(seconds)


def test_waits_grow_with_jitter() -> None:
    waits: list[float] = []
    clock = Clock(sleep=waits.append, chance=lambda: 0.5)
    for attempt in range(8):
        clock.back_off(attempt)
    clock.back_off(0, at_least_s=100.0)
    assert waits == pytest.approx([2.5, 5, 10, 20, 40, 75, 75, 75, 125])
    own = Clock()
    chances = [own.chance() for _ in range(100)]
    assert 0 <= min(chances) < 0.5 < max(chances) < 1


def test_pieces_of_a_key_are_removed_too() -> None:
    assert calls.without(KEY, f"wrong key {KEY[:12]}...{KEY[-9:]}!") == "wrong key ***...***!"
    assert calls.without("", "text") == "text"


def test_png_keeps_every_pixel() -> None:
    from interpose_sfm.video_models.hosted.pictures import png_bytes

    noise = np.random.default_rng(0).integers(0, 256, (31, 47, 3), np.uint8)
    np.testing.assert_array_equal(picture(png_bytes(noise)), noise)


def test_building_a_model_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for service, kind in MODELS.items():
        monkeypatch.delenv(kind.key_variable, raising=False)
        hosted = kind(service, GenerationOptions(clip_price=1.0))
        assert hosted.settings["model"]
        assert not hosted.runs_here
        hosted.close()


def test_the_doctor_says_whether_there_is_a_key_and_not_which(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in MODELS.values():
        monkeypatch.delenv(kind.key_variable, raising=False)
        with pytest.raises(ValueError, match=f"no key: set the environment variable {kind.key_variable}"):
            kind.probe()
        if not INSTALLED[kind.service]:
            continue
        monkeypatch.setenv(kind.key_variable, KEY)
        assert kind.probe().endswith(f"a key is in {kind.key_variable}")
