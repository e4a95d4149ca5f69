"""Brings published weights into the cache of the hub, when somebody asks for them."""

from __future__ import annotations

import http.client
import logging
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from interpose_sfm.pose.da3.architectures import PUBLISHED, WEIGHTS_FILE, Published
from interpose_sfm.registry import MissingDependencyError
from interpose_sfm.storage.content_keys import file_sha256
from interpose_sfm.storage.locks import LockHeldError, acquire_lock

logger = logging.getLogger(__name__)

TIMEOUT_S = 60.0
BLOCK_BYTES = 1 << 20


def fetch(size: str, tell: Callable[[int, int], None] = lambda done, total: None) -> Path:
    """The published weights of a size, which are fetched unless they are here.

    The file lies where the hub's own client puts it and looks for it. A download that broke off goes on where it
    stopped; what arrives is held against its known SHA-256 before it gets its name.

    Args:
        size: Key of `PUBLISHED`.
        tell: Called with bytes that are here, and their total.

    Raises:
        ValueError: The hub cannot be reached, breaks off or sends something else, or another process fetches the same.
        MissingDependencyError: The client of the hub is not installed, which knows where its cache is.
    """
    try:
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name
    except ImportError as error:
        raise MissingDependencyError(f"the cache of the hub needs its client; try: pip install {error.name}") from error
    published = PUBLISHED[size]
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=published.repo, repo_type="model")
    blob = folder / "blobs" / published.sha256
    link = folder / "snapshots" / published.revision / WEIGHTS_FILE
    part = blob.with_name(f"{blob.name}.part")
    try:
        lock = acquire_lock(blob.with_name(f"{blob.name}.lock"))
    except LockHeldError as error:
        raise ValueError(f"{published.repo} is being fetched already: {error}") from error
    try:
        if not (link.is_file() and file_sha256(link) == published.sha256):
            url = f"{constants.ENDPOINT}/{published.repo}/resolve/{published.revision}/{WEIGHTS_FILE}"
            _download(url, part, published, tell)
            _check(part, published)
            part.replace(blob)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(Path("..") / ".." / "blobs" / blob.name)
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
    return link


def _download(url: str, part: Path, published: Published, tell: Callable[[int, int], None]) -> None:
    """Append to a file what is missing of it."""
    done, total = part.stat().st_size if part.exists() else 0, published.num_bytes
    if done >= total:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    logger.info("fetching %s from byte %d", url, done)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            is_rest = answer.status == http.client.PARTIAL_CONTENT  # else the server sends all of it
            done = done if is_rest else 0
            with part.open("ab" if is_rest else "wb") as file:
                while done < total and (block := answer.read(min(BLOCK_BYTES, total - done))):
                    file.write(block)
                    done += len(block)
                    tell(done, total)
    except urllib.error.HTTPError as error:
        raise ValueError(f"{url}: the hub says {error.code} {error.reason}; try again later") from error
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(_broken_off(url, part, total, error)) from error
    if done < total:
        raise ValueError(_broken_off(url, part, total, None))


def _broken_off(url: str, part: Path, total: int, error: Exception | None) -> str:
    done = part.stat().st_size if part.exists() else 0
    why = f" ({' '.join(str(error).split())[:200] or type(error).__name__})" if error is not None else ""
    return (
        f"{url}: got {done / 1e6:.1f} of {total / 1e6:.1f} MB{why}; the same command goes on from there once the hub "
        "can be reached"
    )


def _check(part: Path, published: Published) -> None:
    sha256 = file_sha256(part)
    if sha256 != published.sha256:
        part.unlink()
        raise ValueError(
            f"{published.repo}: what arrived has the SHA-256 {sha256}, expected {published.sha256}; it was thrown away"
        )
