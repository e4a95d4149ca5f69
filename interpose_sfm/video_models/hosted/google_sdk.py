"""Google's SDK with the face of the other vendors': what `calls.call` catches, and one request for each method.

``google-genai`` has exceptions of its own, and lets those of its HTTP client through.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from interpose_sfm.video_models.hosted.web import WebError

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


def DefaultHttpxClient(**options: Any) -> httpx.Client:  # noqa: N802 - the name that the other SDKs have for it
    """A client of httpx."""
    import httpx

    return httpx.Client(**options)


class APIError(Exception):
    """A call failed."""


class APIStatusError(APIError):
    """The service answered with a status that is no success.

    Attributes:
        status_code: Of HTTP.
        body: What the service said, by name.
        response: Has the headers.
    """

    def __init__(self, status_code: int, body: Mapping[str, str], response: Any) -> None:
        super().__init__(f"HTTP {status_code}")
        self.status_code, self.body, self.response = status_code, body, response


class APIConnectionError(APIError):
    """No answer came; the cause says how far the request got."""


class VideoClient:
    """Asks for videos and for how far they are, of the Vertex AI API, which an API key opens as well."""

    def __init__(self, key: str, http_client: httpx.Client) -> None:
        """Build the client; asks nobody.

        Args:
            key: API key.
            http_client: Sends the requests.
        """
        from google.genai import Client, types

        # Without retry options a request is sent once.
        options = types.HttpOptions(httpx_client=http_client)
        self._client = _translated(lambda: Client(vertexai=True, api_key=key, http_options=options))
        self._http_client = http_client

    @property
    def base_url(self) -> str:
        """Address of the service."""
        return os.environ.get("GOOGLE_VERTEX_BASE_URL") or "https://aiplatform.googleapis.com/"  # as the SDK has it

    def create(self, **parameters: Any) -> Any:
        """Ask for a video; the answer is a long-running operation with a ``name``."""
        return _translated(lambda: self._client.models.generate_videos(**parameters))

    def get(self, name: str) -> Any:
        """How far an operation is."""
        from google.genai import types

        return _translated(
            lambda: self._client.operations.get(types.GenerateVideosOperation.model_validate({"name": name}))
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._http_client.close()


def _translated(function: Callable[[], T]) -> T:
    import httpx
    from google.genai import errors

    try:
        return function()
    except errors.APIError as error:
        response = error.response if error.response is not None else httpx.Response(error.code)
        raise APIStatusError(error.code, {"message": str(error.message or "")}, response) from None
    except (httpx.HTTPError, WebError) as error:
        raise APIConnectionError(type(error).__name__) from error
