"""What an httpx client may be led to: how far, how much, how long."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx

MAX_REDIRECTS = 5
_STARTED = "interpose_sfm_started_s"
_MIB = 1 << 20


class WebError(Exception):
    """What is answered is not taken; the message names no address, which may be a signed one."""


def host_of(url: str) -> tuple[str, int | None]:
    """Host and port of an address.

    Raises:
        WebError: It is no address of the web.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise WebError("got an address that cannot be read") from None
    if parts.scheme not in ("http", "https") or not host:
        raise WebError("got an address that is none of the web")
    return host, port


def is_near(url: str) -> bool:
    """Whether an address leads to this machine or its own network, which nobody on the web has to know of.

    A host that has no address here is none of these: behind a proxy names are not known.

    Raises:
        WebError: It is no address of the web.
    """
    host, port = host_of(url)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return False
    return any(_is_local(str(entry[4][0])) for entry in found)


def _is_local(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global


def bounds(
    asked_by: str, max_bytes: int, max_s: float, now_s: Callable[[], float] = time.monotonic
) -> dict[str, list[Callable[[Any], None]]]:
    """Event hooks of an httpx client, which see every request and every redirect.

    Answers come as they are: the client must ask for the encoding ``identity``, since a compressed answer has no size.

    Args:
        asked_by: Address of who names the addresses. Only if it is itself in this network may they lead into it.
        max_bytes: Of the body of one answer.
        max_s: From a request to the end of its answer.
        now_s: Seconds since some moment.
    """
    may_be_near = is_near(asked_by)

    def on_request(request: httpx.Request) -> None:
        if is_near(str(request.url)) and not may_be_near:
            raise WebError("got an address inside the network of this machine")
        request.extensions[_STARTED] = now_s()

    def on_response(response: httpx.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise WebError("got a compressed answer, which nobody has asked for")
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced[:20]) > max_bytes:
            raise WebError(f"got the announcement of more than {max_bytes // _MIB} MiB")
        end_s = response.request.extensions[_STARTED] + max_s
        response.stream = _bounded(response.stream, max_bytes, lambda: now_s() > end_s, max_s)

    return {"request": [on_request], "response": [on_response]}


def _bounded(stream: Any, max_bytes: int, is_late: Callable[[], bool], max_s: float) -> httpx.SyncByteStream:
    import httpx

    class Bounded(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for chunk in stream:
                size += len(chunk)
                if size > max_bytes:
                    raise WebError(f"got more than {max_bytes // _MIB} MiB")
                if is_late():
                    raise WebError(f"got an answer that was not complete after {max_s:.0f} s")
                yield chunk

        def close(self) -> None:
            stream.close()

    return Bounded()
