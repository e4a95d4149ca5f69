"""Cambridge Landmarks (Kendall et al., ICCV 2015): SCENE/dataset_train.txt, dataset_test.txt, reconstruction.nvm.

Both lists have three lines of heading, then ``FILE X Y Z W P Q R``: the centre of the camera and the quaternion of
world -> camera, in VisualSFM's axes, which are OpenCV's. The NVM file (VisualSFM's ``NVM_V3``) has the same poses
with focal lengths, ``FILE FOCAL W P Q R X Y Z DISTORTION 0``, and names .jpg where the photos are .png. A blank in a
file name is a quotation mark in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from benchmarks import scenes

LISTS, NVM = ("dataset_train.txt", "dataset_test.txt"), "reconstruction.nvm"
_HEADING_LINES = 3
_NUMBERS_OF_A_LIST, _NUMBERS_OF_NVM = 7, 10


def folders(data: Path) -> list[Path]:
    """Folders with one of the lists, or with the reconstruction alone."""
    return scenes.folders_with(data, *LISTS, NVM)


def scene(data: Path, folder: Path) -> scenes.Scene:
    """The scene of a folder; its lists tell the poses, the NVM file the focal lengths, and the poses without lists."""
    nvm = list(_nvm_lines(folder / NVM)) if (folder / NVM).is_file() else []
    focals = {_stem(name): words[0] for name, words in nvm}
    lists = [folder / name for name in LISTS if (folder / name).is_file()]
    entries = scenes.EntryList()
    if lists:
        lines: Iterable[tuple[str, list[str]]] = (line for path in lists for line in _list_lines(path))
        listed = [(name, words[3:], words[:3]) for name, words in lines]
    else:
        listed = [(name, words[1:5], words[5:8]) for name, words in nvm]
    for name, quaternion, center in listed:
        entries.add(name, lambda n=name, q=quaternion, c=center: _photo(folder, n, q, c, focals.get(_stem(n))))  # type: ignore[misc]
    return entries.scene(scenes.scene_name(data, folder))


def _photo(
    folder: Path, name: str, quaternion: list[str], center: list[str], focal_px: str | None
) -> scenes.ScenePhoto:
    rotation = scenes.quaternion_rotation(scenes.numbers(quaternion, 4))
    pose = scenes.checked_pose(rotation, -rotation @ scenes.numbers(center, 3))
    path = scenes.find_photo(name, folder)
    header = scenes.header_of(path)
    camera = None if focal_px is None else scenes.pinhole(header.size_px, [float(focal_px)] * 2)
    return scenes.upright(scenes.ScenePhoto(name, path, pose, camera), header.orientation)


def _list_lines(path: Path) -> Iterable[tuple[str, list[str]]]:
    """(file, X Y Z W P Q R); a line that is too short comes with the words that it has."""
    for line in path.read_text(encoding="utf-8").splitlines()[_HEADING_LINES:]:
        if line.strip():
            name, *words = line.strip().rsplit(maxsplit=_NUMBERS_OF_A_LIST)
            yield name, words


def _nvm_lines(path: Path) -> Iterable[tuple[str, list[str]]]:
    """(file, FOCAL W P Q R X Y Z DISTORTION 0) of the first model; its points, most of the file, are not read.

    Raises:
        ValueError: It is no NVM file.
    """
    with path.open(encoding="utf-8") as file:
        filled = (line.strip() for line in file if line.strip())
        first, second = next(filled, ""), next(filled, "")
        if not first.startswith("NVM_V3") or not second.isdecimal():
            raise ValueError(f"{path.name} does not begin as NVM_V3 with a number of photos")
        for line in itertools.islice(filled, int(second)):
            name, *words = line.rsplit(maxsplit=_NUMBERS_OF_NVM)
            yield name.replace('"', " "), words


def _stem(name: str) -> str:
    """Of a file whatever its extension."""
    return PurePosixPath(name.replace("\\", "/")).with_suffix("").as_posix()


LOADER = scenes.Loader(folders, scene, f"SCENE/{LISTS[0]}, {LISTS[1]}, {NVM} and the photos that they name")
