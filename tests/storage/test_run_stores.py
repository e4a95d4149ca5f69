"""Which folders serve as a store: no others are written into."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from interpose_sfm.failures import Lack, lack_of
from interpose_sfm.products import Features
from interpose_sfm.storage.run_stores import check_store_folder, has_stores, open_stores, store_folder
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.workflows.merge_stores import merge_outputs
from small_disks import make_read_only

MARKER = ".interpose_sfm_store"
NOTHING = Features(np.zeros((0, 2)), np.zeros((0, 8), np.float32), np.zeros(0, np.float32), (4, 3))


def fill(folder: Path) -> None:
    with open_stores(folder) as stores:
        stores.features.put("a.jpg", NOTHING)


@pytest.mark.parametrize("exists", [False, True])
def test_a_new_folder_is_marked_and_serves_again_whatever_a_backend_keeps_there(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "shared" / "store"
    if exists:
        folder.mkdir(parents=True)
        (folder / ".DS_Store").touch()
    check_store_folder(folder)
    assert folder.exists() == exists
    assert store_folder(folder, tmp_path / "out") == folder
    (folder / "features of a network.bin").touch()
    assert store_folder(folder, tmp_path / "out") == folder
    assert not (tmp_path / "out").exists()


def test_output_folders_serve_and_are_not_marked_as_something_else(tmp_path: Path) -> None:
    with Workspace(tmp_path / "out").locked():
        pass
    before = sorted(os.listdir(tmp_path / "out"))
    for named in (None, tmp_path / "out"):
        assert store_folder(named, tmp_path / "out") == tmp_path / "out"
    assert sorted(os.listdir(tmp_path / "out")) == before
    assert store_folder(None, tmp_path / "new").is_dir()
    assert os.listdir(tmp_path / "new") == []


def test_a_store_is_one_before_there_are_features_in_it(tmp_path: Path) -> None:
    """As that of a run which only made clips; whoever merges it need not know."""
    assert not has_stores(tmp_path)
    assert has_stores(store_folder(tmp_path / "store", tmp_path))
    assert merge_outputs(tmp_path / "out", [tmp_path / "store"]).num_features == 0


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_store_of_an_earlier_version_has_no_marker_and_serves(tmp_path: Path, is_killed: bool) -> None:
    with open_stores(tmp_path / "whole") as stores:
        stores.features.put("a.jpg", NOTHING)
        shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    folder = tmp_path / ("killed" if is_killed else "whole")
    assert MARKER not in os.listdir(folder)
    check_store_folder(folder)
    assert MARKER in os.listdir(store_folder(folder, tmp_path))


@pytest.mark.parametrize("name", ["a.jpg", "features.h5", "matches.h5"])
def test_a_folder_of_something_else_is_refused_and_untouched(tmp_path: Path, name: str) -> None:
    """Also where another program calls its files as we do."""
    if name.endswith(".h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["data"] = 1
    else:
        (tmp_path / name).write_text("mine")
    before = (tmp_path / name).read_bytes()
    for check in (check_store_folder, lambda folder: store_folder(folder, folder / "out")):
        with pytest.raises(ValueError, match=rf"the store .* holds files of something else \({name}\); choose a new"):
            check(tmp_path)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == before


def test_a_store_that_cannot_be_written_is_told_at_the_start(small_disk: Path) -> None:
    fill(store_folder(small_disk / "store", small_disk))
    make_read_only(small_disk)
    for folder in (small_disk / "store", small_disk / "new" / "store"):
        with pytest.raises(PermissionError) as caught:
            check_store_folder(folder)
        assert lack_of(caught.value) is Lack.PERMISSION
        assert str(small_disk) in str(caught.value)


def test_what_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "store")
    (tmp_path / "store" / "matches.h5.parts").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"matches\.h5\.parts is a symbolic link.*choose another store"):
        check_store_folder(tmp_path / "store")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"the store .*file is a file, expected a folder"):
        check_store_folder(tmp_path / "file")
    with pytest.raises(ValueError, match=r"the store .*store would lie in .*file, which is a file"):
        check_store_folder(tmp_path / "file" / "store")
