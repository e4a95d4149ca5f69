"""Two photos as they are handed in."""

from __future__ import annotations

from pathlib import Path

from bad_photos import picture
from interpose_sfm.options import PhotoOptions, ReconstructOptions
from interpose_sfm.workflows.relative_pose import opened_pair


def test_photos_are_found_under_the_names_that_their_images_get(tmp_path: Path) -> None:
    picture("a").save(tmp_path / "a.webp")
    picture("b").save(tmp_path / "b.jpg")
    options = ReconstructOptions(photos=PhotoOptions())
    with opened_pair(tmp_path / "a.webp", tmp_path / "b.jpg", options) as (poser, pair):
        assert (pair.a, pair.b) == ("a.png", "b.jpg")
        assert poser.has_guessed_focal(pair)
