"""Pictures as services take them, and where those that take addresses only get to see them."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from interpose_sfm.products import ImageArray
from interpose_sfm.storage.atomic import atomic_write_bytes
from interpose_sfm.storage.content_keys import content_key
from interpose_sfm.video_models.hosted.clock import Clock
from interpose_sfm.video_models.hosted.download import DownloadError, fetch

logger = logging.getLogger(__name__)

_MAX_CHECKS = 4


def png_bytes(picture: ImageArray) -> bytes:
    """A picture as a PNG file: no service shall see what a JPEG encoder adds."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=False)
    return buffer.getvalue()


@dataclass(frozen=True)
class PublicFolder:
    """A folder whose files a web server of the user's shows to everybody who knows their names.

    Attributes:
        folder: The folder.
        url: Its address, without a slash at the end.
    """

    folder: Path
    url: str

    @classmethod
    def from_options(cls, folder: Path | None, url: str, who: str) -> PublicFolder:
        """Check what the user gave.

        Raises:
            ValueError: One of them is missing, or is not what it should be.
        """
        if folder is None or not url:
            raise ValueError(
                f"{who} takes pictures by web address only: name a folder that a web server of yours shows with "
                "--public-dir, and its address with --public-url; the two pictures of a clip lie there, under names "
                "that nobody can guess, until it is made"
            )
        if not folder.is_dir():
            raise ValueError(f"option public-dir: {folder} does not exist or is no folder")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"option public-url: got {url!r}, expected an address such as https://my.host/pictures")
        return cls(folder, url.rstrip("/"))

    def names(self, clip_key: str) -> tuple[str, str]:
        """File names of the first and of the last picture of a clip, the same in every run."""
        return f"{content_key(clip_key, 'first')[:40]}.png", f"{content_key(clip_key, 'last')[:40]}.png"

    def urls(self, clip_key: str) -> tuple[str, str]:
        """Addresses of the two pictures of a clip."""
        first, last = self.names(clip_key)
        return f"{self.url}/{first}", f"{self.url}/{last}"

    def publish(self, clip_key: str, first: ImageArray, last: ImageArray, clock: Clock) -> tuple[str, str]:
        """Put two pictures into the folder and see whether they arrive at their addresses.

        Raises:
            ValueError: They do not.
        """
        for name, picture, url in zip(self.names(clip_key), (first, last), self.urls(clip_key), strict=True):
            data = png_bytes(picture)
            atomic_write_bytes(self.folder / name, data)
            (self.folder / name).chmod(0o644)
            self._check(url, data, clock)
        return self.urls(clip_key)

    def withdraw(self, clip_key: str) -> None:
        """Take the pictures of a clip out again."""
        for name in self.names(clip_key):
            try:
                (self.folder / name).unlink(missing_ok=True)
            except OSError as error:
                logger.warning("the published picture %s cannot be removed: %s", self.folder / name, error)

    def _check(self, url: str, data: bytes, clock: Clock) -> None:
        reason = ""
        for attempt in range(_MAX_CHECKS):  # a folder that is synchronised shows its files a little later
            try:
                if fetch(url) == data:
                    return
                reason = "something else arrived from there"
            except DownloadError as error:
                reason = str(error)
            if attempt < _MAX_CHECKS - 1:
                clock.back_off(attempt)
        raise ValueError(
            f"what lies in --public-dir {self.folder} is not seen at --public-url {self.url}: {reason}; nothing was "
            "asked for and nothing paid"
        )
