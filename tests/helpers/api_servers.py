"""The APIs of Runway, Luma and Google as they are documented, on 127.0.0.1 over real sockets, with failures on demand.

The paths, fields and states are those of the official SDKs, which the tests use unchanged. A clip fades from the first
picture that was sent to the last, so that its ends show the photos.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
import io
import itertools
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import av
import numpy as np
from PIL import Image

KEY = "key_" + "0123456789abcdef" * 8
NUM_FRAMES = 12


@dataclass
class Answer:
    """What a server says: a status with JSON, or with bytes; or, with `hang_up`, nothing."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    cut_bytes: int = 0


@dataclass(frozen=True)
class Seen:
    """One request."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ApiServer:
    """A server whose next answers to a kind of request (`create`, `poll`, `list`, `file`, `upload`) can be ordered.

    Attributes:
        requests: Every request, in order.
        failures: Kind -> answers that come before the regular ones.
        num_polls: Polls until a task is finished.
        outcome: Called with the id of a task when it is finished; the fields that its report has then.
    """

    def __init__(self, num_polls: int = 1) -> None:
        self.requests: list[tuple[str, Seen]] = []
        self.failures: dict[str, list[Answer]] = {}
        self.num_polls = num_polls
        self.outcome: Callable[[str], dict[str, Any]] | None = None
        self.swallow_creates = 0
        self.tasks: dict[str, dict[str, Any]] = {}
        self.pictures: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._polls: dict[str, int] = {}
        self._files: dict[str, bytes] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self.url = ""

    def count(self, kind: str) -> int:
        return sum(seen_kind == kind for seen_kind, _ in self.requests)

    def of_kind(self, kind: str) -> list[Seen]:
        return [seen for seen_kind, seen in self.requests if seen_kind == kind]

    @contextmanager
    def running(self) -> Iterator[ApiServer]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def _answer(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                seen = Seen(
                    self.command,
                    parts.path,
                    parse_qs(parts.query),
                    {k.lower(): v for k, v in self.headers.items()},
                    body,
                )
                answer = api.handle(seen)
                if answer.hang_up:
                    self.close_connection = True
                    return
                data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                kind = "video/mp4" if isinstance(answer.body, bytes) else "application/json"
                for name, value in {"content-type": kind, "content-length": str(len(data)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data[: len(data) - answer.cut_bytes])
                self.close_connection = self.close_connection or answer.cut_bytes > 0

        with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
            self.url = url
            yield self

    def handle(self, seen: Seen) -> Answer:
        kind = self.kind(seen)
        with self._lock:
            self.requests.append((kind, seen))
            ordered = self.failures.get(kind)
            if ordered:
                return ordered.pop(0)
        if kind == "file":
            return Answer(body=self._file(seen.path.split("/")[-1].removesuffix(".mp4")))
        if not self.is_authorised(seen):
            shown = seen.headers.get("authorization") or seen.headers.get("x-goog-api-key")
            return Answer(401, {"error": f"Incorrect API key provided: {shown}"})
        if kind == "create":
            return self._create(seen)
        if kind == "poll":
            return self._poll(seen.path.split("/")[-1])
        return self.other(kind, seen)

    def _create(self, seen: Seen) -> Answer:
        pictures = self.keyframes(seen)
        with self._lock:
            task_id = f"task-{next(self._ids):04d}"
            self.tasks[task_id] = seen.json
            self.pictures[task_id] = pictures
            self._polls[task_id] = 0
            if self.swallow_creates:
                self.swallow_creates -= 1
                return Answer(hang_up=True)
        return self.created(task_id)

    def _poll(self, task_id: str) -> Answer:
        with self._lock:
            if task_id not in self.tasks:
                return Answer(404, {"error": "no such task"})
            self._polls[task_id] += 1
            is_finished = self._polls[task_id] >= self.num_polls
        if not is_finished:
            return Answer(body=self.running_report(task_id))
        if self.outcome is not None:
            return Answer(body={**self.running_report(task_id), **self.outcome(task_id)})
        return Answer(body=self.finished_report(task_id, f"{self.url}/files/{task_id}.mp4"))

    def _file(self, task_id: str) -> bytes:
        with self._lock:
            if task_id not in self._files:
                self._files[task_id] = faded_mp4(*self.pictures[task_id])
            return self._files[task_id]

    def kind(self, seen: Seen) -> str:
        raise NotImplementedError

    def is_authorised(self, seen: Seen) -> bool:
        return seen.headers.get("authorization") == f"Bearer {KEY}"

    def keyframes(self, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def created(self, task_id: str) -> Answer:
        raise NotImplementedError

    def running_report(self, task_id: str) -> dict[str, Any]:
        raise NotImplementedError

    def finished_report(self, task_id: str, url: str) -> dict[str, Any]:
        raise NotImplementedError

    def other(self, kind: str, seen: Seen) -> Answer:
        return Answer(404, {"error": f"no such thing: {seen.path}"})


class RunwayServer(ApiServer):
    """``api.dev.runwayml.com``: tasks, and uploads in two steps."""

    CREDITS = 40

    def __init__(self, num_polls: int = 1) -> None:
        super().__init__(num_polls)
        self.uploads: dict[str, bytes] = {}

    def kind(self, seen: Seen) -> str:
        if seen.method == "POST":
            return {"/v1/image_to_video": "create", "/v1/uploads": "upload"}.get(seen.path, "bucket")
        return "poll" if seen.path.startswith("/v1/tasks/") else "file"

    def is_authorised(self, seen: Seen) -> bool:
        if seen.path == "/bucket":  # signed by its fields
            return "authorization" not in seen.headers
        return super().is_authorised(seen) and seen.headers.get("x-runway-version") == "2024-11-06"

    def keyframes(self, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        by_position = {item["position"]: self._picture(item["uri"]) for item in seen.json["promptImage"]}
        return by_position["first"], by_position["last"]

    def _picture(self, uri: str) -> np.ndarray:
        if uri.startswith("runway://"):
            return picture(self.uploads[uri])
        head, data = uri.split(",", 1)
        assert head == "data:image/png;base64"
        return picture(base64.b64decode(data))

    def created(self, task_id: str) -> Answer:
        return Answer(body={"id": task_id, "estimatedCost": {"credits": self.CREDITS}})

    def running_report(self, task_id: str) -> dict[str, Any]:
        return {
            "id": task_id,
            "status": "RUNNING",
            "progress": 0.5,
            "createdAt": datetime.now(timezone.utc).isoformat(),
            "estimatedCost": {"credits": self.CREDITS},
        }

    def finished_report(self, task_id: str, url: str) -> dict[str, Any]:
        return {
            "id": task_id,
            "status": "SUCCEEDED",
            "createdAt": datetime.now(timezone.utc).isoformat(),
            "cost": {"credits": self.CREDITS},
            "output": [url],
        }

    def other(self, kind: str, seen: Seen) -> Answer:
        if kind == "upload":
            uri = f"runway://{seen.json['filename']}"
            return Answer(body={"runwayUri": uri, "uploadUrl": f"{self.url}/bucket", "fields": {"key": uri}})
        head = f"content-type: {seen.headers['content-type']}\n\n".encode()
        form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + seen.body)
        parts = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
        self.uploads[parts["key"].get_content().strip()] = parts["file"].get_payload(decode=True)
        return Answer(204, b"")


class LumaServer(ApiServer):
    """``api.lumalabs.ai/dream-machine/v1``: generations, which fetch their key frames themselves, and their list."""

    def kind(self, seen: Seen) -> str:
        if seen.method == "POST":
            return "create"
        if seen.path == "/generations":
            return "list"
        return "poll" if seen.path.startswith("/generations/") else "file"

    def keyframes(self, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        first, last = (seen.json["keyframes"][name]["url"] for name in ("frame0", "frame1"))
        return tuple(picture(urllib.request.urlopen(url, timeout=10).read()) for url in (first, last))  # type: ignore[return-value]

    def created(self, task_id: str) -> Answer:
        return Answer(201, self.running_report(task_id))

    def running_report(self, task_id: str) -> dict[str, Any]:
        return {
            "id": task_id,
            "generation_type": "video",
            "state": "dreaming",
            "failure_reason": None,
            "created_at": datetime.now(timezone.utc).isoformat(),
            "assets": None,
            "model": self.tasks[task_id]["model"],
            "request": {**self.tasks[task_id], "generation_type": "video"},
        }

    def finished_report(self, task_id: str, url: str) -> dict[str, Any]:
        return {**self.running_report(task_id), "state": "completed", "assets": {"video": url}}

    def other(self, kind: str, seen: Seen) -> Answer:
        assert kind == "list"
        limit, offset = (int(seen.query[name][0]) for name in ("limit", "offset"))
        ids = sorted(self.tasks, reverse=True)
        page = [self.running_report(task_id) for task_id in ids[offset : offset + limit]]
        more = offset + limit < len(ids)
        return Answer(
            body={"generations": page, "count": len(page), "limit": limit, "offset": offset, "has_more": more}
        )


class LumaAgentsServer(ApiServer):
    """``agents.lumalabs.ai/v1``: generations with inline key frames; there is no list."""

    def kind(self, seen: Seen) -> str:
        if seen.method == "POST":
            return "create"
        return "poll" if seen.path.startswith("/generations/") else "file"

    def keyframes(self, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        video = seen.json["video"]
        assert video["keyframe_indexes"] == [0, 24 * int(video["duration"].removesuffix("s"))]
        assert [frame["media_type"] for frame in video["keyframes"]] == ["image/png"] * 2
        first, last = (picture(base64.b64decode(frame["data"])) for frame in video["keyframes"])
        return first, last

    def created(self, task_id: str) -> Answer:
        return Answer(201, self.running_report(task_id))

    def running_report(self, task_id: str) -> dict[str, Any]:
        return {
            "id": task_id,
            "created_at": datetime.now(timezone.utc).isoformat(),
            "model": self.tasks[task_id]["model"],
            "state": "processing",
            "type": "video",
        }

    def finished_report(self, task_id: str, url: str) -> dict[str, Any]:
        return {**self.running_report(task_id), "state": "completed", "output": [{"type": "video", "url": url}]}


class VeoServer(ApiServer):
    """``aiplatform.googleapis.com`` with an API key: long-running operations, which are asked for by POST."""

    def kind(self, seen: Seen) -> str:
        return "create" if seen.path.endswith(":predictLongRunning") else "poll"

    def is_authorised(self, seen: Seen) -> bool:
        return seen.headers.get("x-goog-api-key") == KEY

    def handle(self, seen: Seen) -> Answer:
        if self.kind(seen) == "poll":
            resource, _, operation = seen.json["operationName"].rpartition("/operations/")
            assert seen.path.endswith(f"/{resource}:fetchPredictOperation")
            seen = Seen(seen.method, f"{seen.path}/{operation}", seen.query, seen.headers, seen.body)
        answer = super().handle(seen)
        if isinstance(answer.body, dict) and isinstance(answer.body.get("error"), str):
            answer.body = {"error": {"code": answer.status, "message": answer.body["error"], "status": "X"}}
        return answer

    def keyframes(self, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        (instance,) = seen.json["instances"]
        pictures = instance["image"], instance["lastFrame"]
        assert [image["mimeType"] for image in pictures] == ["image/png"] * 2
        first, last = (picture(base64.b64decode(image["bytesBase64Encoded"])) for image in pictures)
        return first, last

    def created(self, task_id: str) -> Answer:
        return Answer(body=self.running_report(task_id))

    def running_report(self, task_id: str) -> dict[str, Any]:
        return {"name": f"publishers/google/models/veo-3.1-generate-001/operations/{task_id}"}

    def finished_report(self, task_id: str, url: str) -> dict[str, Any]:
        video = {"bytesBase64Encoded": base64.b64encode(self._file(task_id)).decode(), "mimeType": "video/mp4"}
        return {**self.running_report(task_id), "done": True, "response": {"videos": [video]}}


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[str]:
    """Run a server in a thread; yields its address."""
    server.daemon_threads = True
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


@contextmanager
def web_folder(folder: Path) -> Iterator[str]:
    """A folder on the web; yields its address."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


def picture(data: bytes) -> np.ndarray:
    """The pixels of an image file."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def faded_mp4(first: np.ndarray, last: np.ndarray, num_frames: int = NUM_FRAMES) -> bytes:
    """An MP4 file that fades from one picture to the other; what the first and the last frame show is exact."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "12", "preset": "ultrafast"})
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        for share in np.linspace(0.0, 1.0, num_frames):
            frame = ((1 - share) * first + share * last).round().astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
