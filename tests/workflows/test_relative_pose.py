"""Two photos as they are handed in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

import interpose_sfm.workflows.relative_pose as module
from bad_photos import picture
from interpose_sfm.matching.cache import PhotoViews
from interpose_sfm.options import PhotoOptions, ReconstructOptions
from interpose_sfm.photos.masks import read_mask
from interpose_sfm.products import Intrinsics
from interpose_sfm.workflows.relative_pose import opened_pair, relative_pose


def test_photos_are_found_under_the_names_that_their_images_get(tmp_path: Path) -> None:
    picture("a").save(tmp_path / "a.webp")
    picture("b").save(tmp_path / "b.jpg")
    options = ReconstructOptions(photos=PhotoOptions())
    with opened_pair(tmp_path / "a.webp", tmp_path / "b.jpg", options) as (poser, pair):
        assert (pair.a, pair.b) == ("a.png", "b.jpg")
        assert poser.has_guessed_focal(pair)


@pytest.mark.parametrize("folders", [("x", "y"), ("b", "a")])  # those of the copies are called a and b, too
def test_masks_are_those_of_the_photos_as_they_are_called(
    folders: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (tmp_path / folder / "1.webp" for folder in folders)
    for photo in (first, second):
        photo.parent.mkdir()
        picture(photo.parent.name).save(photo)
    used: list[Path | None] = []

    def noted(image_dir: Path, cameras: Mapping[str, Intrinsics], mask_dir: Path | None) -> PhotoViews:
        used.append(mask_dir)
        return PhotoViews(image_dir, cameras, mask_dir)

    def black_columns() -> list[int]:
        """How many columns of each photo are masked."""
        options = ReconstructOptions(mask_path=tmp_path / "masks")
        with opened_pair(first, second, options) as (_, pair):
            found = [read_mask(used[-1] / f"{name}.png") for name in (pair.a, pair.b)]  # type: ignore[operator]
        return [int((~mask).all(0).sum()) for mask in found]

    def put_mask(name: str, width_px: int) -> None:
        with Image.open(first) as image:
            mask = Image.new("L", image.size, 255)
        mask.paste(0, (0, 0, width_px, mask.height))
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        mask.save(tmp_path / "masks" / name)

    monkeypatch.setattr(module, "PhotoViews", noted)
    (tmp_path / "masks").mkdir()
    with pytest.raises(ValueError, match=r"expected 1\.webp\.png there for 1\.webp"):
        black_columns()
    put_mask(f"{folders[1]}/1.webp.png", 20)
    assert black_columns() == [0, 20]
    put_mask("1.png", 10)
    assert black_columns() == [10, 20]
    put_mask(f"{folders[0]}/1.png.png", 30)
    assert black_columns() == [30, 20]


def test_photos_of_one_name_are_told_by_their_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "x" / "1.jpg", tmp_path / "y" / "1.jpg"
    for path in (first, second):
        path.parent.mkdir()
        picture("the same").save(path)
    with pytest.raises(ValueError, match="expected two different photos") as caught:
        relative_pose(first, second)
    assert f"{second}: duplicate (same file as {first})" in str(caught.value)
    picture("another").save(second)
    result = relative_pose(first, second, ReconstructOptions(generator="none"))
    assert (result.pair.a, result.pair.b) == (str(first), str(second))
