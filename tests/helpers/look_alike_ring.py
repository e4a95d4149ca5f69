"""A ring of photos around a cup whose print is there twice, before a room that differs all around."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geometry_scenes import DatabaseOptions, Scene, arc, observe, write_database
from interpose_sfm import geometry
from interpose_sfm.products import FloatArray, IndexArray

NUM = 16  # photos
HALF = NUM // 2
STEP_DEG = 360 / NUM
NUM_PRINTED, NUM_ROOM = 400, 800
NAMES = tuple(f"{view:02d}.jpg" for view in range(NUM))
SEEN_DEG = 65.0  # between a print's normal and the way to the camera
SIFT_STEPS = 2  # photos apart up to which key points match


def _points() -> FloatArray:
    """Half of the print, its twin in the same order, and the room."""
    rng = np.random.default_rng(7)
    angle, height = rng.uniform(0, np.pi, NUM_PRINTED), rng.uniform(-1.2, 1.2, NUM_PRINTED)
    cup = np.stack([1.2 * np.cos(angle), 1.2 * np.sin(angle), height], 1)
    around = rng.uniform(0, 2 * np.pi, NUM_ROOM)
    depth = rng.uniform(14, 22, NUM_ROOM)
    room = np.stack([depth * np.cos(around), depth * np.sin(around), rng.uniform(-9, 9, NUM_ROOM)], 1)
    return np.concatenate([cup, cup * [-1, -1, 1], room])


def ring_scene() -> Scene:
    return observe(_points(), arc([STEP_DEG * view for view in range(NUM)]), noise_px=0.3, seed=7)


def write_ring(path: Path, *, looks_alike: bool, room_matches: bool = True) -> Path:
    """The database of the ring, in which the sides of the cup match one another or not, and the room does or not."""
    scene = ring_scene()
    centers = np.array([-pose.rotation.T @ pose.translation for pose in scene.cam_from_world])
    rows = {}
    for a in range(NUM):
        for b in range(a + 1, NUM):
            apart = min(b - a, NUM - b + a)
            found = [_rows(scene, centers, a, b, turn=0)] if apart <= SIFT_STEPS else []
            if looks_alike and HALF - apart <= SIFT_STEPS:
                found.append(_rows(scene, centers, a, b, turn=NUM_PRINTED))
            if found and len(found[0]):
                rows[a, b] = np.concatenate(found)
                if not room_matches:
                    rows[a, b] = rows[a, b][scene.point_of_row[a][rows[a, b][:, 0]] < 2 * NUM_PRINTED]
    return write_database(path, scene, NAMES, DatabaseOptions(rows=rows))


def _rows(scene: Scene, centers: FloatArray, a: int, b: int, turn: int) -> IndexArray:
    """Rows of one point in both views, or with ``turn`` of a printed point in one and its twin in the other."""
    row_of = [{int(p): row for row, p in enumerate(scene.point_of_row[view]) if p >= 0} for view in (a, b)]
    rows = []
    for point, row in row_of[0].items():
        is_printed = point < 2 * NUM_PRINTED
        other = (point + turn) % (2 * NUM_PRINTED) if is_printed else point
        if turn and not is_printed:
            continue
        if other not in row_of[1] or (is_printed and not _faces(scene, centers, point, a)):
            continue
        if is_printed and not _faces(scene, centers, other, b):
            continue
        rows.append((row, row_of[1][other]))
    return np.array(rows, np.uint32).reshape(-1, 2)


def _faces(scene: Scene, centers: FloatArray, point: int, view: int) -> bool:
    place = scene.points_in_world[point]
    return bool(geometry.direction_angle_deg(place * [1, 1, 0], centers[view] - place) < SEEN_DEG)
