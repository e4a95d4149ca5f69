"""Files from the web that are whole: the length that the server states, and every frame can be decoded."""

from __future__ import annotations

from interpose_sfm.clips.mp4 import format_of
from interpose_sfm.clips.video import UnreadableClipError
from interpose_sfm.video_models.hosted.web import MAX_REDIRECTS, WebError, bounds, host_of

MAX_BYTES = 1 << 28
"""Of a file; ten seconds of 1080p are less than a tenth of it."""

MAX_S = 900.0
"""From the request to the last byte."""

_TIMEOUT_S = 60.0  # without a byte


class DownloadError(Exception):
    """A file did not arrive whole."""


def fetch(url: str, asked_by: str = "") -> bytes:
    """Get a file. No key goes with the request: the addresses of results are signed, or public.

    Args:
        url: Where it is.
        asked_by: Address of the service that says so; empty where the user does.

    Raises:
        DownloadError: No answer, a refusal, fewer bytes than announced, or more and longer than any clip; or an
            address or a redirect that leads from the web into the network of this machine.
    """
    import httpx

    failure = ""
    try:
        hooks = bounds(asked_by or url, MAX_BYTES, MAX_S)
        host, _ = host_of(url)
        with (
            httpx.Client(
                timeout=_TIMEOUT_S,
                follow_redirects=True,
                max_redirects=MAX_REDIRECTS,
                headers={"accept-encoding": "identity"},
                event_hooks=hooks,
            ) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code != 200:
                raise DownloadError(f"{host} answered HTTP {response.status_code}")
            data = response.read()
            announced = response.headers.get("content-length", "")
            if announced.isdecimal() and len(data) != int(announced):
                raise DownloadError(f"{len(data)} of {announced} bytes arrived from {host}")
            return data
    except (httpx.HTTPError, httpx.InvalidURL) as error:  # names no address: that would be a signed one
        failure = f"the transfer from {host} broke off ({type(error).__name__})"
    except WebError as error:
        failure = str(error)
    raise DownloadError(failure)


def fetch_video(url: str, asked_by: str = "") -> bytes:
    """Get a video, and decode it to the end; arguments as of `fetch`.

    Raises:
        DownloadError: It did not arrive whole, or is no video.
    """
    return whole_video(fetch(url, asked_by))


def whole_video(data: bytes) -> bytes:
    """The bytes of a file that can be decoded to its end.

    Raises:
        DownloadError: They are no video, or not all of one.
    """
    try:
        format_of(data)
    except UnreadableClipError as error:
        raise DownloadError(f"{len(data)} bytes arrived that are no whole video: {error}") from None
    return data
