"""The similarity of two models, measured by the points of the links between them: the pixels have the last word."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap import reconstruction
from interpose_sfm.colmap.constants import MIN_VERIFIED_MATCHES
from interpose_sfm.geometry import Similarity
from interpose_sfm.joining import overlaps, placing
from interpose_sfm.joining.alignment import Alignment, Apart, ApartReason, contradiction
from interpose_sfm.joining.reprojection_fit import AGREE_PX, Sighting, fit_pixels
from interpose_sfm.joining.sightings import num_points, verified_points
from interpose_sfm.joining.similarity_fit import fit_statements
from interpose_sfm.products import FloatArray, ImagePair, Link

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

MIN_AGREEING_SHARE = 0.5  # of the links' points in either model that the other one sees where the links say
MIN_SIDE_POINTS = 8  # of either model, for a link that was refused: the points of one alone suit some wrong scale


class PixelWitness:
    """Measures similarities; one for all the models of a run.

    Args:
        max_cycle_deg: By which angle what is known of two models may disagree.
    """

    def __init__(self, max_cycle_deg: float) -> None:
        self._max_cycle_deg = max_cycle_deg
        self._own_points_px: dict[ImagePair, tuple[FloatArray, FloatArray]] = {}

    def remember(
        self,
        links: Sequence[Link],
        target: pycolmap.Reconstruction,
        source: pycolmap.Reconstruction,
        database_path: Path,
    ) -> None:
        """Note what COLMAP's own features verify between photos, before matches of links are added to that."""
        models = {name: model for model in (source, target) for name in reconstruction.registered_names(model)}
        for pair in {link.pair for link in links} - self._own_points_px.keys():
            self._own_points_px[pair] = verified_points(models[pair.a], pair.a, models[pair.b], pair.b, database_path)

    def similarity(
        self,
        between: placing.Between,
        answer: Alignment | Apart,
        target: pycolmap.Reconstruction,
        source: pycolmap.Reconstruction,
        sightings: Sequence[Sighting],
        confirmed: Sequence[Link],
    ) -> Similarity | str:
        """The alignment, measured by the pixels where links have points; a sentence where it is not to be believed.

        The points of look-alike structure fit one another perfectly, a window further along. What else is known of the
        two models tells: where the pixels move it beyond its uncertainty, they are not believed.

        Args:
            confirmed: Those of the links that only pixels can confirm.
        """
        if isinstance(answer, Apart) and answer.reason is not ApartReason.UNSURE_SCALE:
            return f"{answer.detail}; wanted: {answer.wanted}"
        num_sightings = num_points(sightings)
        both = f"the links between {min(between.source)} and {min(between.target)}"
        if num_sightings < overlaps.MIN_COMMON_POINTS:
            if isinstance(answer, Apart):
                return f"{answer.detail}; wanted: {answer.wanted}"
            if confirmed and not any(self._is_verified_alike(link, target, source) for link in confirmed):
                return f"only {num_sightings} points of {both} have a depth; wanted: a link with more points"
            return answer.target_from_source
        statements = between.statements
        start = fit_statements(statements).similarity if isinstance(answer, Apart) else answer.target_from_source
        fit = fit_pixels(statements, start, sightings)
        logger.info("%d of %d points of links are seen where they belong", fit.num_agreeing, fit.num_sightings)
        sides = fit.target_points, fit.source_points
        is_believed = fit.num_agreeing >= overlaps.MIN_COMMON_POINTS
        is_believed &= all(agreeing >= MIN_AGREEING_SHARE * seen for agreeing, seen in sides)
        if not is_believed or (confirmed and min(agreeing for agreeing, _ in sides) < MIN_SIDE_POINTS):
            counts = " and ".join(f"{agreeing} of {seen}" for agreeing, seen in sides)
            return (
                f"only {counts} points that either model has of {both} are seen where they belong; "
                "wanted: a link with more points"
            )
        broken = contradiction(statements, fit.target_from_source, self._max_cycle_deg)
        if broken:
            return f"the points of {both} do not fit what else is known: {broken}; wanted: another link between them"
        return fit.target_from_source

    def _is_verified_alike(self, link: Link, target: pycolmap.Reconstruction, source: pycolmap.Reconstruction) -> bool:
        """Whether COLMAP's own features verify the pair, too, and most of their matches agree with the link's pose.

        A camera that both models have counts as the target, which is the larger one, refined it.
        """
        a, b = link.pair.a, link.pair.b
        points_a_px, points_b_px = self._own_points_px[link.pair]
        if len(points_a_px) < MIN_VERIFIED_MATCHES:
            return False
        models = {name: model for model in (source, target) for name in reconstruction.registered_names(model)}
        cameras = []
        for name in (a, b):
            camera_id = models[name].find_image_with_name(name).camera_id
            model = target if target.exists_camera(camera_id) else models[name]
            cameras.append(geometry.from_colmap_camera(model.camera(camera_id), is_trusted=True))
        errors_px = geometry.epipolar_errors_px(link.b_from_a, points_a_px, cameras[0], points_b_px, cameras[1])
        return bool(np.mean(errors_px <= AGREE_PX) >= MIN_AGREEING_SHARE)
