"""What the answer of a service means for whoever asked it, and that it never tells the key."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import Any, TypeVar

from interpose_sfm._compat import StrEnum
from interpose_sfm.video_models.hosted.web import MAX_REDIRECTS, WebError, bounds

T = TypeVar("T")

MAX_ANSWER_BYTES = 1 << 24
"""Of an answer in words; a page of a list has some hundred kilobytes."""

MAX_ANSWER_S = 120.0
"""From the request to the last byte."""

_MAX_MESSAGE = 300
_MAX_USD = 1e6
_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
_TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
# Exceptions of httpx that come before the first byte of a request has left.
_BEFORE_SENDING = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol")
_MONEY = re.compile(r"credits?\b|balance|billing|payment|quota", re.IGNORECASE)


class Trouble(StrEnum):
    """Why a call did not give what was asked for.

    BUSY: The service did not take it on, and may later.
    UNCLEAR: No answer, or one from which it cannot be told whether the service took it on.
    MISSING: What was asked for is not there (any more).
    REJECTED: The service does not do this.
    DENIED: The key is not accepted, or not for this.
    UNPAID: The account lacks the money.
    """

    BUSY = "busy"
    UNCLEAR = "unclear"
    MISSING = "missing"
    REJECTED = "rejected"
    DENIED = "denied"
    UNPAID = "unpaid"


class ServiceError(Exception):
    """A call failed.

    Attributes:
        trouble: What kind of failure it is.
        retry_after_s: How long the service wants to be left alone; 0 where it does not say.
    """

    def __init__(self, trouble: Trouble, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.retry_after_s = retry_after_s


def key_from_environment(variable: str, where_to_get_it: str) -> str:
    """The key of a service.

    Raises:
        ValueError: There is none, or it holds what no key holds. The message names the variable, not the value.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(f"no key: set the environment variable {variable} (keys: {where_to_get_it})")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"the environment variable {variable} holds blanks or characters that no key has")
    return key


def call(sdk: ModuleType, key: str, function: Callable[[], T]) -> T:
    """Run one call of an SDK; both vendors' SDKs are generated alike and have the same exceptions.

    Args:
        sdk: ``runwayml`` or ``lumaai``.
        key: Is removed from every message.
        function: The call, with the SDK's own retries switched off.

    Raises:
        ServiceError: It failed. The SDK's exception is not chained to it: it carries the request with the key.
    """
    failure: ServiceError
    try:
        return function()
    except sdk.APIStatusError as error:
        message = _message(error.status_code, error.body, key)
        trouble = trouble_of_status(error.status_code, error.response.headers, message)
        failure = ServiceError(trouble, message, retry_after_s(error.response.headers))
    except sdk.APIConnectionError as error:
        never_sent = type(error.__cause__).__name__ in _BEFORE_SENDING
        what = "cannot be reached" if never_sent else "gave no answer"
        if isinstance(error.__cause__, WebError):
            what = f"gave an answer that is not taken: {error.__cause__}"
        failure = ServiceError(Trouble.BUSY if never_sent else Trouble.UNCLEAR, f"the service {what}")
    except (sdk.APIError, *_UNREADABLE) as error:
        failure = ServiceError(Trouble.UNCLEAR, f"the answer cannot be read ({type(error).__name__})")
    raise failure


def http_client(sdk: ModuleType) -> Any:
    """What an SDK's client sends its requests by; see `bound`.

    It keeps no connection open. A request over one that the server has closed in the meantime gets no answer, and
    nobody could say why.
    """
    import httpx

    return sdk.DefaultHttpxClient(
        limits=httpx.Limits(max_keepalive_connections=0),
        max_redirects=MAX_REDIRECTS,
        headers={"accept-encoding": "identity"},
    )


def bound(client: Any, base_url: str, max_bytes: int = 0) -> None:
    """Let a client of `http_client` take answers of bounded size and time, and lead no further than the service is.

    Raises:
        ValueError: The service's address is none of the web.
    """
    try:
        client.event_hooks = bounds(base_url, max_bytes or MAX_ANSWER_BYTES, MAX_ANSWER_S)
    except WebError as error:
        raise ValueError(f"the address of the service, {base_url!r}: {error}") from None


def task_id(value: object) -> str:
    """The id of a task as a service or a note says it; it becomes part of an address.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, str) and _TASK_ID.fullmatch(value):
        return value
    raise ValueError(f"got {str(value)[:80]!r}, expected the id of a task")


def amount_usd(value: object, usd_each: float = 1.0) -> float | None:
    """What a service says that something costs, in units of so many dollars; None where that cannot be a price."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) * usd_each if 0 <= value <= _MAX_USD / usd_each else None  # false for NaN


def address_of(value: object) -> str:
    """Where a service says that a file is; empty where it says nothing of the kind, which no download takes."""
    return value if isinstance(value, str) else ""


def text_of(value: object, default: str = "") -> str:
    """One line of what a service says in words, of bounded length."""
    return " ".join(value.split())[:_MAX_MESSAGE] if isinstance(value, str) and value.strip() else default


def trouble_of_status(status: int, headers: Mapping[str, str], message: str = "") -> Trouble:
    """What an HTTP status says.

    Runway documents 429, 502, 503 and 504 as answers to requests that it did not take on
    (docs.dev.runwayml.com/errors/errors). Any other failure of the server may have come after a task was made, unless
    the server says by ``x-should-retry``, which the SDKs of both vendors obey, that asking again is right.
    """
    if status == 401:
        return Trouble.DENIED
    if status == 402 or (status in (400, 403) and _MONEY.search(message)):
        return Trouble.UNPAID
    if status == 403:
        return Trouble.DENIED
    if status in (404, 410):
        return Trouble.MISSING
    if status in (429, 502, 503, 504) or headers.get("x-should-retry") == "true":
        return Trouble.BUSY
    if status in (408, 409) or status >= 500:
        return Trouble.UNCLEAR
    return Trouble.REJECTED


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds that ``Retry-After`` asks for, as a number or as a date; 0 where it does not."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            now_s = parsedate_to_datetime(headers["date"]).timestamp() if "date" in headers else time.time()
            seconds = parsedate_to_datetime(text).timestamp() - now_s
        except (TypeError, ValueError, IndexError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def _message(status: int, body: Any, key: str) -> str:
    """One line of what the service says about a failure, without the key."""
    text = ""
    if isinstance(body, Mapping):
        for field in ("error", "detail", "message"):
            if isinstance(body.get(field), str):
                text = body[field]
                break
        else:
            text = str(body.get("issues") or body.get("detail") or "")
    elif isinstance(body, str) and not body.lstrip().startswith("<"):
        text = body
    return " ".join(f"HTTP {status} {without(key, text)}".split())[:_MAX_MESSAGE]


def without(key: str, text: str) -> str:
    """The text with the key, or what a service shows of it, replaced by ``***``.

    Services quote a wrong key shortened, as ``key_01...89``, so longer pieces of it are replaced as well.
    """
    if not key:
        return text
    text = text.replace(key, "***")
    for length in range(len(key) - 1, 7, -1):
        for piece in (key[:length], key[-length:]):
            text = text.replace(piece, "***")
    return text
