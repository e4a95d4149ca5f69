"""A database of two groups of views with calibrated pairs inside each and none between them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pycolmap

from geometry_scenes import (
    DatabaseOptions,
    all_rows,
    arc,
    cloud,
    link_of,
    observe,
    turned,
    write_database,
)
from interpose_sfm import geometry
from interpose_sfm.colmap.link_rows import inject_links
from interpose_sfm.options import BaseOptions, Mapper
from interpose_sfm.products import Pose

NAMES = tuple(f"{letter}.jpg" for letter in "abcdefg")
SCENE = observe(cloud(1, 300), arc([0, 12, 24, 36, 60, 72, 84]), noise_px=0.3, seed=1)
TRUTH = dict(zip(NAMES, SCENE.cam_from_world, strict=True))
OPTIONS = BaseOptions(num_threads=1, mapper=Mapper.GLOBAL)
BRIDGE = (3, 4)


def two_groups(path: Path, *, is_calibrated: bool = True) -> Path:
    """Four and three views with calibrated pairs inside each group and none between them."""
    rows = {**all_rows(SCENE, range(4)), **all_rows(SCENE, range(4, 7))}
    write_database(path, SCENE, NAMES, DatabaseOptions(rows=rows))
    poses = {pair: SCENE.b_from_a(*pair) for pair in rows} if is_calibrated else {}
    store(path, poses)
    return path


def store(path: Path, poses: Mapping[tuple[int, int], Pose]) -> None:
    """Relative poses into two-view geometries that are there."""
    with pycolmap.Database.open(path) as database:
        for (a, b), pose in poses.items():
            found = database.read_two_view_geometry(a + 1, b + 1)
            found.cam2_from_cam1 = geometry.to_rigid3d(pose)
            found.E = pycolmap.essential_matrix_from_pose(found.cam2_from_cam1)
            database.delete_two_view_geometry(a + 1, b + 1)
            database.write_two_view_geometry(a + 1, b + 1, found)


def stored_pose(path: Path, a: int, b: int) -> Pose:
    with pycolmap.Database.open(path) as database:
        found = database.read_two_view_geometry(a + 1, b + 1).cam2_from_cam1
    assert found is not None
    return geometry.from_rigid3d(found)


def add_link(path: Path, angle_deg: float = 0.0) -> None:
    """The true link between the groups, with its pose turned away from what its points say."""
    inject_links(path, [link_of(SCENE, NAMES, *BRIDGE, limit=40)])
    store(path, {BRIDGE: turned(SCENE.b_from_a(*BRIDGE), angle_deg)})
