"""What the nouns themselves say."""

from __future__ import annotations

from pathlib import Path

import pytest

from interpose_sfm.products import PhotoSet, SkippedFile, SkipReason
from photo_folders import photo

HEIC = "HEIC is not supported; convert it to JPEG or PNG"


def skipped(count: int, reason: SkipReason, detail: str, ending: str) -> tuple[SkippedFile, ...]:
    return tuple(SkippedFile(f"{index}.{ending}", reason, detail) for index in range(count))


@pytest.mark.parametrize(
    ("num_photos", "files", "lack"),
    [
        (2, skipped(3, SkipReason.NOT_AN_IMAGE, HEIC, "heic"), ""),
        (0, (), "0 usable photos, expected at least two; there are no other files in the folder"),
        (1, (), "1 usable photo, expected at least two; there are no other files in the folder"),
        (
            0,
            skipped(40, SkipReason.NOT_AN_IMAGE, HEIC, "heic"),
            f"0 usable photos, expected at least two; left out: 40 files such as 0.heic: not an image ({HEIC})",
        ),
        (
            1,
            (
                *skipped(2, SkipReason.TOO_SMALL, "32 x 32 px", "png"),
                *skipped(1, SkipReason.NOT_AN_IMAGE, "a text", "txt"),
                *skipped(5, SkipReason.NOT_AN_IMAGE, HEIC, "heic"),
                *skipped(1, SkipReason.EMPTY, "no content", "jpg"),
                *skipped(1, SkipReason.CORRUPT, "cut", "tif"),
            ),
            f"1 usable photo, expected at least two; left out: 5 files such as 0.heic: not an image ({HEIC}); "
            "2 files such as 0.png: too small (32 x 32 px); 0.txt: not an image (a text) and 2 more",
        ),
    ],
)
def test_too_few_photos_say_why(num_photos: int, files: tuple[SkippedFile, ...], lack: str) -> None:
    photos = tuple(photo(f"{index}.jpg") for index in range(num_photos))
    assert PhotoSet(Path("images"), photos, files).lack == lack
