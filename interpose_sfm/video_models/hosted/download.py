"""Files from the web that are whole: the length that the server states, and every frame can be decoded."""

from __future__ import annotations

from urllib.parse import urlsplit

from interpose_sfm.clips.mp4 import format_of
from interpose_sfm.clips.video import UnreadableClipError

_TIMEOUT_S = 60.0
_MAX_BYTES = 1 << 30


class DownloadError(Exception):
    """A file did not arrive whole."""


def fetch(url: str) -> bytes:
    """Get a file. No key goes with the request: the addresses of results are signed, or public.

    Raises:
        DownloadError: No answer, a refusal, or fewer bytes than announced.
    """
    import httpx

    host = urlsplit(url).hostname or ""
    if urlsplit(url).scheme not in ("http", "https") or not host:
        raise DownloadError("got an address that is none of the web")
    failure = ""
    try:
        with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True) as client, client.stream("GET", url) as response:
            if response.status_code != 200:
                raise DownloadError(f"{host} answered HTTP {response.status_code}")
            chunks, size = [], 0
            for chunk in response.iter_bytes():
                chunks.append(chunk)
                size += len(chunk)
                if size > _MAX_BYTES:
                    raise DownloadError(f"more than {_MAX_BYTES >> 20} MiB, no clip is that long")
            announced = response.headers.get("content-length", "")
            if announced.isdigit() and "content-encoding" not in response.headers and size != int(announced):
                raise DownloadError(f"{size} of {announced} bytes arrived from {host}")
            return b"".join(chunks)
    except httpx.HTTPError as error:  # names no address: that would be a signed one
        failure = f"the transfer from {host} broke off ({type(error).__name__})"
    raise DownloadError(failure)


def fetch_video(url: str) -> bytes:
    """Get a video, and decode it to the end.

    Raises:
        DownloadError: It did not arrive whole, or is no video.
    """
    data = fetch(url)
    try:
        format_of(data)
    except UnreadableClipError as error:
        raise DownloadError(f"{len(data)} bytes arrived that are no whole video: {error}") from None
    return data
