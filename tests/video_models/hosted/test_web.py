"""What services answer, and where they lead: bounded in size and time, checked, never into this network."""

from __future__ import annotations

import gzip
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import api_servers
from api_servers import LumaServer, RunwayServer, serving, web_folder
from hosted_scene import Waiting, journal, model, task, use_server
from interpose_sfm.products import ClipFormat
from interpose_sfm.video_models.hosted import calls, download, google_sdk, web
from interpose_sfm.video_models.hosted.download import DownloadError, fetch
from interpose_sfm.video_models.hosted.web import is_near
from interpose_sfm.video_models.protocol import GenerationError

SMALL = ClipFormat(width_px=640, height_px=640, num_frames=96, fps=24.0)

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A server that says what it is told to say; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            answer(self)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            answer(self)

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


def say(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


# ---------------------------------------------------------------- where


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1/x", True),
        ("http://localhost:8000/x", True),
        ("http://[::1]/x", True),
        ("http://[::ffff:127.0.0.1]/x", True),
        ("http://10.0.0.3/x", True),
        ("http://192.168.1.1/x", True),
        ("http://169.254.169.254/latest/meta-data", True),
        ("http://[fe80::1]/x", True),
        ("http://0.0.0.0/x", True),
        ("http://2130706433/x", True),  # 127.0.0.1, as the system reads it
        ("https://8.8.8.8/x", False),
        ("https://[2001:4860:4860::8888]/x", False),
        ("https://no-such-host.invalid/x", False),
    ],
)
def test_near(url: str, expected: bool) -> None:
    assert is_near(url) is expected


@pytest.mark.parametrize("url", ["http://[::1", "http://a:b/", "http://", "file:///etc/passwd", "", "http://\0/", "x"])
def test_broken_addresses_are_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(DownloadError):
        fetch(url)


def pretend(monkeypatch: pytest.MonkeyPatch, *far_ports: int) -> None:
    """Servers on these ports of 127.0.0.1 count as hosts of the web."""
    resolve = socket.getaddrinfo

    def look_up(host: str, port: int | None, *args: Any, **kwargs: Any) -> Any:
        if port in far_ports and "type" in kwargs:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", port))]
        return resolve(host, port, *args, **kwargs)

    monkeypatch.setattr(web.socket, "getaddrinfo", look_up)


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def test_no_redirect_leads_from_the_web_into_this_network(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def inside(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        say(handler, b"secret")

    with answering(inside) as near, answering(lambda h: say(h, b"", 302, Location=f"{near}/admin")) as far:
        assert fetch(far) == b"secret"  # the user's own server may do so
        pretend(monkeypatch, port_of(far))
        with pytest.raises(DownloadError, match="inside the network of this machine"):
            fetch(far)
    assert asked == ["/admin"]


def test_a_service_of_the_web_names_no_address_in_this_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(lambda h: say(h, b"secret")) as near:
        with pytest.raises(DownloadError, match="inside the network"):
            fetch(near, "https://8.8.8.8/v1")
        assert fetch(near, near) == b"secret"


def test_redirects_end() -> None:
    numbers = itertools.count()
    with (
        answering(lambda h: say(h, b"", 302, Location=f"/{next(numbers)}")) as url,
        pytest.raises(DownloadError, match="TooManyRedirects"),
    ):
        fetch(url)
    assert next(numbers) == web.MAX_REDIRECTS + 1


# ---------------------------------------------------------------- how much, how long


def test_an_announced_size_beyond_all_clips_is_refused_at_once() -> None:
    with (
        answering(lambda h: say(h, b"x" * 100, Content_Length=str(2**50))) as url,
        pytest.raises(DownloadError, match="announcement of more than 256 MiB"),
    ):
        fetch(url)


def test_a_size_that_nobody_announced_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1 << 20)
    with (
        answering(lambda h: say(h, bytes((1 << 20) + 1))) as url,
        pytest.raises(DownloadError, match="more than 1 MiB"),
    ):
        fetch(url)


def test_compressed_answers_are_not_unpacked() -> None:
    bomb = gzip.compress(bytes(3 << 20))
    with (
        answering(lambda h: say(h, bomb, Content_Encoding="gzip")) as url,
        pytest.raises(DownloadError, match="compressed"),
    ):
        fetch(url)


def test_a_trickle_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_S", 0.5)

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.1)

    start = time.monotonic()
    with answering(trickle) as url, pytest.raises(DownloadError, match="not complete after"):
        fetch(url)
    assert time.monotonic() - start < 5


def test_a_length_that_is_no_number_is_no_length() -> None:
    with answering(lambda h: say(h, b"abc", X_Length="²")) as url:
        assert fetch(url) == b"abc"


# ---------------------------------------------------------------- what services answer


@pytest.fixture
def runway(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunwayServer]:
    with RunwayServer().running() as server:
        use_server(monkeypatch, "runway", server)
        yield server


@pytest.mark.parametrize(
    "output", [[], None, "", [None], [7], {}, ["http://[::1"], ["file:///etc/passwd"], ["\x1b]0;owned\x07"]]
)
def test_a_paid_clip_without_an_address_is_left_to_the_next_run(
    runway: RunwayServer, tmp_path: Path, output: object
) -> None:
    runway.outcome = lambda _: {"status": "SUCCEEDED", "output": output}
    notes = journal(tmp_path)
    with pytest.raises(GenerationError, match=r"task-0001 .*(next run fetches it|cannot be asked for)"):
        model("runway", name="runway:seedance2").make(task(SMALL), notes)
    assert notes.read()["task"] == "task-0001"
    runway.outcome = None
    assert model("runway", name="runway:seedance2").make(task(SMALL), notes).file
    assert runway.count("create") == 1


@pytest.mark.parametrize("hostile", ["../../x", "a/b", "a?b", "", None, 7, "x" * 10_000, "\x1b[2J", ["x"]])
def test_a_hostile_task_id_is_not_taken(
    runway: RunwayServer, tmp_path: Path, hostile: object, monkeypatch: Any
) -> None:
    monkeypatch.setattr(runway, "created", lambda _: type(runway).created(runway, hostile))
    with pytest.raises(GenerationError, match="answer was lost") as caught:
        model("runway", name="runway:seedance2").make(task(SMALL), journal(tmp_path))
    assert "\x1b" not in str(caught.value)
    assert runway.count("poll") == 0
    assert journal(tmp_path).read()["state"] == "creating"


def test_a_hostile_task_id_in_a_note_is_not_asked_for(runway: RunwayServer, tmp_path: Path) -> None:
    notes = journal(tmp_path)
    notes.write({"state": "created", "service": "runway", "task": "../../x"})
    with pytest.raises(ValueError, match="expected the id of a task"):
        model("runway", name="runway:seedance2").make(task(SMALL), notes)
    assert not runway.requests


@pytest.mark.parametrize("credits", [-100, "forty", float("nan"), 1e300, None, [40], float("inf")])
def test_a_price_that_is_none_is_that_of_the_list(runway: RunwayServer, tmp_path: Path, credits: object) -> None:
    finished = runway.finished_report

    def report(task_id: str, url: str) -> dict[str, Any]:
        return {**finished(task_id, url), "cost": {"credits": credits}, "estimatedCost": {"credits": credits}}

    runway.finished_report = report  # type: ignore[method-assign]
    made = model("runway", name="runway:seedance2").make(task(SMALL), journal(tmp_path))
    assert made.cost_usd == pytest.approx(4 * 0.36)


BODIES = (b"", b"null", b"[]", b"7", b'"x"', b"{", b"<html>", b"[" * 100_000, b'{"id": {}}', b"\xff\xfe")


@pytest.mark.parametrize("kind", ["create", "poll"])
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:12].decode("latin-1"))
def test_answers_of_another_form_end_in_a_sentence(
    runway: RunwayServer, tmp_path: Path, kind: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = runway.handle

    def other(seen: Any) -> Any:
        answer = handle(seen)
        return _answer(body) if runway.kind(seen) == kind else answer

    monkeypatch.setattr(runway, "handle", other)
    waiting = Waiting()
    with pytest.raises(GenerationError):
        model("runway", waiting, name="runway:seedance2").make(task(SMALL), journal(tmp_path))
    assert runway.count("create") == 1  # what may have been paid is not asked for again


@pytest.mark.parametrize("entry", [None, 7, {}, {"state": "dreaming"}, {"id": "../../x", "state": "dreaming"}])
def test_a_list_of_another_form_ends_in_a_sentence(tmp_path: Path, entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "public").mkdir()
    with LumaServer().running() as server, web_folder(tmp_path / "public") as url:
        use_server(monkeypatch, "luma", server)
        server.swallow_creates = 1
        plain = server.running_report

        def report(task_id: str) -> dict[str, Any]:
            return plain(task_id) | entry if isinstance(entry, dict) else entry

        monkeypatch.setattr(server, "running_report", report)
        asked = model("luma", public_dir=tmp_path / "public", public_url=url, video_long_side_px=960)
        if entry in ({}, {"state": "dreaming"}):
            monkeypatch.setattr(server, "running_report", plain)
            assert asked.make(task(asked.format_for((160, 90))), journal(tmp_path)).file
            return
        with pytest.raises(GenerationError, match="not known whether"):
            asked.make(task(asked.format_for((160, 90))), journal(tmp_path))
    assert server.count("create") == 1


def test_answers_of_a_service_are_bounded(runway: RunwayServer, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(calls, "MAX_ANSWER_BYTES", 1 << 20)
    long = json.dumps({"status": "FAILED", "failure": "x" * (1 << 21)}).encode()
    monkeypatch.setattr(runway, "_poll", lambda _: _answer(long))
    with pytest.raises(GenerationError, match="not taken: got the announcement of more than 1 MiB"):
        model("runway", name="runway:seedance2").make(task(SMALL), journal(tmp_path))


def _answer(body: bytes) -> Any:
    return api_servers.Answer(body=body, headers={"content-type": "application/json"})


def test_what_a_failed_task_says_is_one_short_line(runway: RunwayServer, tmp_path: Path) -> None:
    runway.outcome = lambda _: {"status": "FAILED", "failure": "line\n" * 10_000, "failureCode": 7}
    with pytest.raises(GenerationError) as caught:
        model("runway", name="runway:seedance2").make(task(SMALL), journal(tmp_path))
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_an_answer_that_is_not_taken_is_told_of_google_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its SDK lets through what its HTTP client raises."""
    pytest.importorskip("google.genai")
    long = json.dumps({"name": "x" * (1 << 21)}).encode()
    with answering(lambda h: say(h, long, Content_Type="application/json", Content_Length=str(len(long)))) as url:
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", url)
        http_client = calls.http_client(google_sdk)
        calls.bound(http_client, url, 1 << 20)
        client = google_sdk.VideoClient("key", http_client)
        with pytest.raises(calls.ServiceError, match="not taken: got the announcement of more than 1 MiB"):
            calls.call(google_sdk, "key", lambda: client.get("publishers/google/models/m/operations/o"))
        client.close()
