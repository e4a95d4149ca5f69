"""Weights are fetched from a hub on 127.0.0.1, over real sockets."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from interpose_sfm.cli import main as cli
from interpose_sfm.pose.da3 import checkpoint, fetching
from interpose_sfm.pose.da3.architectures import PUBLISHED, WEIGHTS_FILE
from interpose_sfm.storage.locks import acquire_lock
from interpose_sfm.workflows import fetch_weights

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SMALL = replace(PUBLISHED["small"], sha256=hashlib.sha256(CONTENT).hexdigest(), num_bytes=len(CONTENT))


@dataclass
class Hub:
    """What a hub sends, and what it was asked.

    Attributes:
        content: Of the file.
        cut_bytes: After so many bytes of an answer it hangs up; 0 for never.
        ignores_ranges: Whether it sends all of the file whatever part is asked for.
        status: Of its answers, unless it is 200.
        ranges: First byte of every request, in order.
        paths: Of every request.
    """

    content: bytes = CONTENT
    cut_bytes: int = 0
    ignores_ranges: bool = False
    status: int = 200
    ranges: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub whose file is three megabytes of known checksum, and an empty cache."""
    constants = pytest.importorskip("huggingface_hub.constants")
    served = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
            served.ranges.append(int(asked))
            served.paths.append(self.path)
            start = 0 if served.ignores_ranges else int(asked)
            status = served.status if served.status != 200 else 206 if start else 200
            self.send_response(status)
            self.send_header("Content-Length", str(len(served.content) - start))
            self.end_headers()
            if status < 300:
                self.wfile.write(served.content[start : start + (served.cut_bytes or len(served.content))])
            self.close_connection = True

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    for module in (fetching, checkpoint, fetch_weights):
        monkeypatch.setattr(module, "PUBLISHED", {**PUBLISHED, "small": SMALL})
    yield served
    server.shutdown()
    server.server_close()


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_weights_come_into_the_cache_of_the_hub_once(hub: Hub, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    assert checkpoint.find("small") is None
    path = fetching.fetch("small", lambda done, total: told.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert hub.paths == [f"/depth-anything/DA3-SMALL/resolve/{SMALL.revision}/{WEIGHTS_FILE}"]
    assert checkpoint.find("small") == path  # where the hub's own client looks for it
    assert path.is_symlink()
    assert os.path.realpath(path) == str(tmp_path / "hub/models--depth-anything--DA3-SMALL/blobs" / SMALL.sha256)
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert fetching.fetch("small") == path
    assert len(hub.ranges) == 1
    assert files(tmp_path) == {SMALL.sha256, WEIGHTS_FILE}


def test_a_download_that_broke_off_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.cut_bytes = 1_200_000
    for _ in range(2):
        with pytest.raises(ValueError, match=r"got \d\.\d of 3\.0 MB.*the same command goes on from there"):
            fetching.fetch("small")
        assert checkpoint.find("small") is None
    assert fetching.fetch("small").read_bytes() == CONTENT
    assert hub.ranges == [0, 1_200_000, 2_400_000]
    assert files(tmp_path) == {SMALL.sha256, WEIGHTS_FILE}


def test_a_hub_that_sends_all_again_is_listened_to_from_the_beginning(hub: Hub) -> None:
    hub.cut_bytes = 1_200_000
    with pytest.raises(ValueError, match="goes on from there"):
        fetching.fetch("small")
    hub.cut_bytes, hub.ignores_ranges = 0, True
    assert fetching.fetch("small").read_bytes() == CONTENT


def test_what_is_not_the_weights_is_thrown_away(hub: Hub, tmp_path: Path) -> None:
    hub.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(ValueError, match=rf"has the SHA-256 \w+, expected {SMALL.sha256}; it was thrown away"):
        fetching.fetch("small")
    assert files(tmp_path) == set()
    hub.content = CONTENT
    path = fetching.fetch("small")
    path.resolve().write_bytes(b"damaged")
    assert fetching.fetch("small").read_bytes() == CONTENT


def test_a_hub_that_refuses_or_is_not_there_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.status = 503
    with pytest.raises(ValueError, match="the hub says 503"):
        fetching.fetch("small")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"got 0\.0 of 3\.0 MB \(.*refused"):
        fetching.fetch("small")


def test_two_do_not_fetch_at_once(hub: Hub, tmp_path: Path) -> None:
    held = acquire_lock(tmp_path / f"hub/models--depth-anything--DA3-SMALL/blobs/{SMALL.sha256}.lock")
    with pytest.raises(ValueError, match=r"is being fetched already: .* locked by process"):
        fetching.fetch("small")
    held.release()
    assert hub.ranges == []


# ---------------------------------------------------------------- the command


def test_the_command_says_licence_and_size_first(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fetch", "da3"]) == 0
    said = capsys.readouterr()
    assert said.err.startswith("depth-anything/DA3-SMALL at e08cab65ca0e: 3 MB, licence Apache-2.0\n")
    assert said.out.strip() == str(checkpoint.find("small"))
    hub.status = 503
    assert cli.main(["fetch", "da3-base"]) == 2
    assert "the hub says 503" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"), [("da3-large", "CC BY-NC 4.0"), ("dust3r", "unknown weights 'dust3r', expected one of: da3, ")]
)
def test_the_command_fetches_nothing_else(
    hub: Hub, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    assert cli.main(["fetch", name]) == 2
    assert message in capsys.readouterr().err
    assert hub.ranges == []
