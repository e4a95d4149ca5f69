"""What a run says and does about folded models."""

from __future__ import annotations

import json
from pathlib import Path

import pycolmap
import pytest

from geometry_scenes import worst_error_deg
from interpose_sfm import geometry
from interpose_sfm.colmap import reconstruction
from interpose_sfm.options import BaseOptions, ReconstructOptions
from interpose_sfm.run_log import RunLog
from interpose_sfm.storage.content_keys import content_key
from interpose_sfm.storage.workspace import Workspace
from interpose_sfm.workflows import folded_models
from interpose_sfm.workflows.base_models import SecondMapping
from interpose_sfm.workflows.reconstruct import reconstruct
from look_alike_ring import NAMES, NUM, ring_scene, write_ring
from paths import DATA
from plain_mapping import map_plain

OPTIONS = BaseOptions(num_threads=1)
PLACES = DATA / "places"


def test_a_folded_model_is_told_and_mapped_apart_once(workspace: Workspace) -> None:
    path, log = write_ring(workspace.base_dir / "database.db", looks_alike=True), RunLog()
    map_plain(path, workspace.base_dir / "models")
    models = reconstruction.read_models(workspace.base_dir / "models", 3)
    pairs = folded_models.suspected(models, path, log, "; do this")
    assert folded_models.STAGE in log.timings_s
    (warning,) = log.warnings
    assert warning.startswith(f"COLMAP's model of {NUM} photos is probably folded: it puts {len(pairs)} pairs")
    assert f"{pairs[0].pair.a} and {pairs[0].pair.b}" in warning
    assert warning.endswith("; do this")

    calls: list[Path] = []

    def counted(database_path: Path, models_dir: Path) -> None:
        calls.append(database_path)
        map_plain(database_path, models_dir)

    plain = SecondMapping(workspace, "key", path, workspace.root, NAMES)
    for _ in range(2):
        smaller = folded_models.split(plain, pairs, counted, log)
    assert len(calls) == 1
    assert log.warnings[-1] == "mapped again without 40 pairs of photos that match nothing but what looks alike"
    (opened,) = reconstruction.read_models(smaller.database_path.parent / "models", 3)
    assert worst_error_deg(opened, dict(zip(NAMES, ring_scene().cam_from_world, strict=True))) < 2
    assert folded_models.suspected([opened], path, RunLog()) == ()


def test_nothing_is_said_of_a_sound_model(workspace: Workspace) -> None:
    path, log = write_ring(workspace.base_dir / "database.db", looks_alike=False), RunLog()
    map_plain(path, workspace.base_dir / "models")
    assert folded_models.suspected(reconstruction.read_models(workspace.base_dir / "models", 3), path, log) == ()
    assert log.warnings == []


def test_the_option_is_not_in_keys_so_that_plain_models_stay_valid() -> None:
    assert content_key(OPTIONS) == content_key(BaseOptions(num_threads=1, split_lookalikes=True))


# ---------------------------------------------------------------- real photos


def run_on(folder: Path, subset: str, *, split: bool = False) -> tuple[list[str], dict[str, object], list[Path]]:
    """Warnings, report and models of a run without clips on a subset of the real photos."""
    known = json.loads((PLACES / "subsets.json").read_text())[subset]
    photos = folder / "photos"
    photos.mkdir()
    for name in known["images"]:
        (photos / name).symlink_to(PLACES / known["scene"] / "images" / name)
    base = BaseOptions(num_threads=1, split_lookalikes=split)
    result = reconstruct(photos, folder / "run", ReconstructOptions(generator="none", base=base))
    report = json.loads((folder / "run" / "report.json").read_text())
    return [w for w in report["warnings"] if "folded" in w], report, list(result.model_dirs)


needs_photos = pytest.mark.skipif(not (PLACES / "subsets.json").is_file(), reason="needs the real photos")


@pytest.mark.photos
@needs_photos
def test_the_cup_is_told(tmp_path: Path) -> None:
    warnings, report, models = run_on(tmp_path, "cup_s8")
    assert len(warnings) == 1
    assert "--split-lookalikes" in warnings[0]
    assert len(models) == 1
    named = report["look_alikes"]
    assert isinstance(named, list)
    assert all({"a", "b", "silent_share", "num_verified"} == one.keys() for one in named)
    assert max(one["silent_share"] for one in named) > 0.3


@pytest.mark.photos
@needs_photos
@pytest.mark.parametrize("subset", ["reichstag_s2", "art_s1"])
def test_nothing_is_told_of_other_photos(tmp_path: Path, subset: str) -> None:
    warnings, report, _ = run_on(tmp_path, subset)
    assert (warnings, report["look_alikes"]) == ([], [])


@pytest.mark.long
@pytest.mark.photos
@needs_photos
@pytest.mark.timeout(1200)
def test_the_ring_around_the_cup_opens(tmp_path: Path) -> None:
    """Photos half a ring apart look in opposite directions, and rotation grows along the ring."""
    _, _, models = run_on(tmp_path, "cup_s1", split=True)
    poses = reconstruction.poses(pycolmap.Reconstruction(models[0]))
    assert len(poses) >= 40
    first = poses["0000.jpg"].rotation
    opposite = [pose.rotation @ first.T for name, pose in poses.items() if 24 < int(name[:4]) < 40]
    assert opposite
    assert min(geometry.rotation_angle_deg(turn) for turn in opposite) > 120
