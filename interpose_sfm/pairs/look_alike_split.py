"""Which verified pairs of a folded model rest on what looks alike, and a database without them.

What a suspected pair matches is the thing that looks alike. A pair of any angle that matches beyond it shows the same
surroundings; one that matches nothing else may be of either side, and says nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interpose_sfm.colmap import databases
from interpose_sfm.matching.silence import are_near, grain_px
from interpose_sfm.pairs.look_alikes import verified_pairs
from interpose_sfm.products import FloatArray, IndexArray, LookAlike

MIN_BEYOND = 5
"""Verified matches beyond what looks alike that a pair needs. Luck leaves one or two to a wrong pair, and none to most
(cup, photos more than a fifth of the ring apart)."""

IdPair = tuple[int, int]


def copy_without(source: Path, target: Path, suspected: Sequence[LookAlike]) -> int:
    """Copy a database without the matches and two-view geometries of pairs that rest on what looks alike.

    Args:
        source: With the matches; it is not altered.
        target: Where the copy goes.
        suspected: Of all models.

    Returns:
        How many were left out.
    """
    import pycolmap

    databases.copy_database(source, target)
    with pycolmap.Database.open(target) as database:
        images = {image.image_id: image for image in database.read_all_images()}
        cameras = {camera.camera_id: camera for camera in database.read_all_cameras()}
        ids = {image.name: image_id for image_id, image in images.items()}
        points_px = {i: np.asarray(database.read_keypoints(i), np.float64)[:, :2] for i in images}
        camera_of = {i: cameras[image.camera_id] for i, image in images.items()}
        near_px = {i: grain_px((camera.width, camera.height)) for i, camera in camera_of.items()}
        verified = verified_pairs(database, images.keys())
        named = {frozenset((ids[one.pair.a], ids[one.pair.b])) for one in suspected}
        wrong = {pair for pair in verified if frozenset(pair) in named}
        is_alike = _alike(points_px, near_px, verified, wrong)
        for (a, b), rows in verified.items():
            is_beyond = ~is_alike[a][rows[:, 0]] & ~is_alike[b][rows[:, 1]]
            if np.count_nonzero(is_beyond) < MIN_BEYOND:
                wrong.add((a, b))
        for pair in wrong:
            database.delete_two_view_geometry(*pair)
            if database.exists_matches(*pair):  # nothing that verifies or ranks pairs later is to find them
                database.delete_matches(*pair)
    return len(wrong)


def _alike(
    points_px: Mapping[int, FloatArray],
    near_px: Mapping[int, float],
    verified: Mapping[IdPair, IndexArray],
    wrong: Collection[IdPair],
) -> dict[int, NDArray[np.bool_]]:
    """Of every photo, which key points lie on or near what looks alike.

    In photos of wrong pairs it is what these match; in others what they match of it in the former, and no further: each
    step widens it by the grain of the pictures.
    """

    def spread(found: Mapping[int, list[IndexArray]]) -> dict[int, NDArray[np.bool_]]:
        return {i: are_near(points_px[i], points_px[i][np.concatenate(rows)], near_px[i]) for i, rows in found.items()}

    own: dict[int, list[IndexArray]] = {}
    for pair in wrong:
        for side, image_id in enumerate(pair):
            own.setdefault(image_id, []).append(verified[pair][:, side])
    is_alike = spread(own)
    told: dict[int, list[IndexArray]] = {}
    for pair, rows in verified.items():
        for side, (image_id, other) in enumerate((pair, pair[::-1])):
            if image_id not in own and other in own:
                told.setdefault(image_id, []).append(rows[is_alike[other][rows[:, 1 - side]], side])
    nothing = {i: np.zeros(len(points), bool) for i, points in points_px.items()}
    return {**nothing, **is_alike, **spread(told)}
