"""From several models and the links between them to fewer models: joined, triangulated, adjusted with priors.

What ties two models may leave their scale open, or be a single link that nothing confirms. Then the pairs of photos
across the two are asked once more: a link that was refused because its own evidence is weak is believed where the
rotation between its photos, known from all else, is the one that it found by itself. Of look-alike structure that is
not to be expected: it would have to err by the very rotation between its photos. Where all is known but the scale, it
is believed as well with one of the poses that the scales leave, if its matches support that as much as any other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from interpose_sfm import geometry
from interpose_sfm.colmap import databases, incremental_mapper, known_model, link_rows, reconstruction
from interpose_sfm.colmap.cameras import refined_cameras
from interpose_sfm.geometry import Similarity
from interpose_sfm.joining import adjustment, gps, overlaps, placing
from interpose_sfm.joining.adjustment import AdjustedLink
from interpose_sfm.joining.alignment import Alignment, Apart, ApartReason, ScaleCue
from interpose_sfm.joining.mapping_run import MappingRun
from interpose_sfm.joining.pixel_witness import PixelWitness
from interpose_sfm.joining.reprojection_fit import Sighting
from interpose_sfm.joining.sightings import find_sightings, num_points
from interpose_sfm.products import ImagePair, Link, Pose

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

CONFIRMED_SIGMAS = 2.0
"""Of its spread that a candidate may miss the predicted rotation: three in four right links do not miss it by more. On
castle-P30_s4 the right link misses it by at most 1.5 of them (11 degrees), the next candidate by 64 degrees."""

MAX_SUPPORTED = 4  # sets of links that are tried for two models: each costs an adjustment

SAME_SCALE = 0.2  # logarithm: what different points of one pair may make of a scale

ROUNDS = 2  # of triangulating and adjusting: the first brings the tracks within reach that the second finds


class LinkSource(Protocol):
    """Where further links come from while models are joined."""

    def candidates(self, first: frozenset[str], second: frozenset[str]) -> Sequence[Link]:
        """Links, believed or not, of pairs across two sets of photos."""
        ...

    def predicted(self, link: Link, poses: Sequence[Pose]) -> Sequence[Link]:
        """A candidate with those of some predicted poses that its matches support as much as any other, best first."""
        ...

    def support(self, links: Sequence[Link]) -> Sequence[Link]:
        """Learned matches of the ends of links with their neighbours, which give the links' key points a depth."""
        ...

    def guessed(self, links: Sequence[Link]) -> Sequence[Link]:
        """Those of the links that a pose network knows depths or poses beside of, with these, in baselines."""
        ...


@dataclass(frozen=True)
class Joined:
    """What joining made of models.

    Attributes:
        models: Those that are left, in the order of the input.
        confirmed: Candidates that they rest on, and why each is believed.
        adjusted: By pair, what the last adjustment that kept its model made of a link.
        apart: For every two models that stay apart: why, and which link is missing.
        remarks: For every join that rests on GPS or on a guess that it does, and where GPS contradicts the pictures.
    """

    models: tuple[pycolmap.Reconstruction, ...]
    confirmed: tuple[tuple[Link, str], ...]
    adjusted: Mapping[ImagePair, AdjustedLink]
    apart: tuple[str, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Grown:
    """A model that may take the place of others; nothing is reported of it before it does.

    Attributes:
        model: Joined and adjusted.
        database_path: Holds the rows of its links.
        confirmed: Candidates that it rests on.
        adjusted: What the adjustment made of the links.
        by_gps: A sentence on what GPS has to do with it; empty if nothing.
    """

    model: pycolmap.Reconstruction
    database_path: Path
    confirmed: Sequence[Link]
    adjusted: Sequence[AdjustedLink]
    by_gps: str = ""


class ModelJoiner:
    """Joins the models of a run; made anew for every run."""

    def __init__(self, run: MappingRun) -> None:
        self._run = run
        self._links: list[Link] = []
        self._contradicted: Sequence[Link] = ()
        self._apart: dict[object, str] = {}  # by what stays apart: two models, or a photo
        self._confirmed: dict[ImagePair, tuple[Link, str]] = {}
        self._adjusted_links: dict[ImagePair, AdjustedLink] = {}
        self._remarks: list[str] = []
        self._is_guessing = False
        self._gps_sigma_m = gps.POSITION_SIGMA_M
        self._held_by_matches: dict[tuple[ImagePair, frozenset[str], frozenset[str]], tuple[Link, ...]] = {}
        self._pixels = PixelWitness(run.limits.max_cycle_deg)
        self._num_folders = 0

    def join_all(
        self,
        models: Sequence[pycolmap.Reconstruction],
        links: Sequence[Link],
        source: LinkSource,
        is_no_worse: Callable[[Sequence[pycolmap.Reconstruction], pycolmap.Reconstruction], bool],
        contradicted: Sequence[Link] = (),
    ) -> Joined:
        """The models, every two that can be joined replaced by one; then single photos by their links.

        Args:
            models: Largest first.
            links: Accepted ones.
            source: Of further links.
            is_no_worse: Whether the second argument may take the place of the models in the first.
            contradicted: Links of good evidence that others contradict. They place nothing, but what they say is heard:
                of links that agree with one another, all may be wrong.
        """
        self._links, self._contradicted, self._source = list(links), contradicted, source
        self._gps_sigma_m = gps.position_sigma_m([reconstruction.poses(m) for m in models], self._run.positions_m)
        left = self._joined_up(list(models), is_no_worse)
        if self._apart:
            names = [reconstruction.registered_names(model) for model in left]
            outward = [x for x in self._links if not any(x.pair.a in held and x.pair.b in held for held in names)]
            guessed = {link.pair: link for link in source.guessed(outward)}
            if guessed:
                self._links, self._is_guessing = [guessed.get(link.pair, link) for link in self._links], True
                left = self._joined_up(left, is_no_worse)
        apart, confirmed = tuple(self._apart.values()), tuple(self._confirmed.values())
        return Joined(tuple(left), confirmed, self._adjusted_links, apart, tuple(self._remarks))

    def _joined_up(
        self,
        left: list[pycolmap.Reconstruction],
        is_no_worse: Callable[[Sequence[pycolmap.Reconstruction], pycolmap.Reconstruction], bool],
    ) -> list[pycolmap.Reconstruction]:
        """What two models after another are joined to, and then single photos, by what is known so far."""
        self._apart.clear()
        position = 0
        while position < len(left):
            for other in range(position):
                merged = self._merge(left[other], left[position])
                if merged is not None and is_no_worse([left[other], left[position]], merged.model):
                    self._believe(merged)
                    left[other] = merged.model
                    del left[position]
                    self._apart.clear()
                    position = 0  # what could not be joined to a part may be joined to the whole
                    break
            else:
                position += 1
        for index, model in enumerate(left):
            left[index] = self._with_single_photos(model, left, is_no_worse)
        return left

    # ------------------------------------------------------------ two models

    def _merge(self, target: pycolmap.Reconstruction, source: pycolmap.Reconstruction) -> _Grown | None:
        names = reconstruction.registered_names(target), reconstruction.registered_names(source)
        if names[1] <= names[0]:
            return None
        target, source = self._triangulated(target), self._triangulated(source)
        between = self._between(target, source, self._links)
        if not between.links and not between.overlaps:
            return None
        answer = between.align(self._run.limits.max_cycle_deg)
        found: list[tuple[Similarity, _Grown]] = []
        if isinstance(answer, Apart) and answer.reason in (ApartReason.NO_SCALE, ApartReason.UNSURE_SCALE):
            for confirmed in self._confirmed_by(between, names):
                joined = self._tried(target, source, confirmed)
                found += [] if joined is None else [joined]
        if not found:
            joined = self._joined(target, source, between, [])
            found = [] if joined is None else [joined]
        if found:
            self._apart.pop((min(names[0]), min(names[1])), None)  # of a set of links that joins nothing
        if any(_scales_differ(found[0][0], similarity) for similarity, _ in found[1:]):
            scales = " and ".join(f"{similarity.scale:.2g}" for similarity, _ in found)
            sentence = f"matches between {min(names[1])} and {min(names[0])} fit the scales {scales}"
            self._apart[min(names[0]), min(names[1])] = f"{sentence}; wanted: a link between them"
            return None
        return found[0][1] if found else None

    def _tried(
        self, target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, confirmed: Sequence[Link]
    ) -> tuple[Similarity, _Grown] | None:
        """Two models joined with some confirmed candidates, in a copy of the database: no other set sees their rows."""
        run, self._num_folders = self._run, self._num_folders + 1
        run.work_dir.mkdir(parents=True, exist_ok=True)
        database_path = run.work_dir / f"database{self._num_folders}.db"
        databases.copy_database(run.database_path, database_path)
        try:
            self._run = replace(run, database_path=database_path)
            self._pixels.remember(confirmed, target, source, database_path)
            link_rows.inject_links(database_path, self._source.support(confirmed))
            target, source = self._triangulated(target), self._triangulated(source)
            joined = self._joined(target, source, self._between(target, source, [*self._links, *confirmed]), confirmed)
        finally:
            self._run = run
        if joined is None:
            database_path.unlink()
        return joined

    def _joined(
        self,
        target: pycolmap.Reconstruction,
        source: pycolmap.Reconstruction,
        between: placing.Between,
        confirmed: Sequence[Link],
    ) -> tuple[Similarity, _Grown] | None:
        """Two models joined by all that is between them, some confirmed candidates included, if the pixels agree."""
        names = reconstruction.registered_names(target), reconstruction.registered_names(source)
        answer = between.align(self._run.limits.max_cycle_deg)
        measured = everything = between
        if self._contradicted:
            everything = self._between(target, source, [*self._links, *confirmed, *self._contradicted])
            answer = self._unless_contradicted(answer, everything)
        sightings = find_sightings(between, target, source, self._run.database_path)
        survey = gps.survey(between.target, between.source, self._run.positions_m, self._gps_sigma_m)
        if survey is not None and isinstance(answer, Apart) and _is_open(answer, sightings):
            measured, answer = survey.measured(between), self._by_survey(answer, survey, between, everything)
        similarity = self._pixels.similarity(measured, answer, target, source, sightings, confirmed)
        if isinstance(similarity, str):
            self._apart[min(names[0]), min(names[1])] = similarity
            return None
        link_rows.inject_links(self._run.database_path, confirmed)
        joined = placing.join(target, source, similarity, self._run.database_path)
        by_gps = "" if survey is None else _told(survey, answer, between, similarity)
        grown = self._adjusted(joined, [names[0], names[1]], confirmed, by_gps)
        fallen = {link.pair: link.detail for link in grown.adjusted if link.is_contradicted}
        if confirmed and all(link.pair in fallen for link in confirmed):  # so the models do not belong there
            detail = "; ".join(fallen[link.pair] for link in confirmed)
            self._apart[min(names[0]), min(names[1])] = f"the joined model contradicts what joins it: {detail}"
            return None
        return similarity, grown

    def _unless_contradicted(self, answer: Alignment | Apart, everything: placing.Between) -> Alignment | Apart:
        """What the believed links say, unless those that others contradict say otherwise: they place nothing."""
        if not self._contradicted or not isinstance(answer, Alignment):
            return answer
        return _vetoed(answer, everything.align(self._run.limits.max_cycle_deg))

    def _by_survey(
        self, answer: Apart, survey: gps.Survey, between: placing.Between, everything: placing.Between
    ) -> Alignment | Apart:
        """What GPS makes of an answer that is open; where it does not suffice either, the answer."""
        max_angle_deg = self._run.limits.max_cycle_deg
        found = survey.align(between, max_angle_deg)
        if isinstance(found, Alignment):
            return _vetoed(found, survey.align(everything, max_angle_deg)) if self._contradicted else found
        return found if found.reason is ApartReason.CONTRADICTION else answer

    def _between(
        self, target: pycolmap.Reconstruction, source: pycolmap.Reconstruction, links: Sequence[Link]
    ) -> placing.Between:
        return placing.find_ties(target, source, links, self._run.database_path, self._run.seed)

    def _confirmed_by(
        self, between: placing.Between, names: tuple[frozenset[str], frozenset[str]]
    ) -> list[Sequence[Link]]:
        """Candidates that everything else confirms: sets of links, each of which may join the models, surest first.

        Where all is known but the scale, every pose that it leaves and that the matches of a candidate support makes a
        set: a pair with few matches has several optima, and by itself may end in a wrong one. The last set holds those
        whose own rotation is the one that everything else predicts.
        """
        family = between.family()
        predicted = geometry.median_rotation(between.statements.rotations())
        limits = self._run.limits
        alike: list[Link] = []
        supported: list[Sequence[Link]] = []
        for link in self._source.candidates(*names):
            tie = between.tie(link)
            if (
                link.pair in self._confirmed
                or tie is None
                or link.spread_deg > limits.max_spread_deg
                or len(link.points_a_px) < limits.min_inliers
            ):
                continue
            if family:
                key = link.pair, *names
                if key not in self._held_by_matches:  # else the models were tried before, with others
                    poses = [tie.b_from_a(member) for member in family]
                    self._held_by_matches[key] = tuple(self._source.predicted(link, poses))
                supported += [[member] for member in self._held_by_matches[key]]
            error_deg = float(geometry.rotation_angle_deg(tie.rotation @ predicted.T))
            logger.info("%s: %.0f degrees from the predicted rotation", link.pair, error_deg)
            if error_deg <= max(limits.max_cycle_deg, CONFIRMED_SIGMAS * link.spread_deg):
                alike.append(link)
        supported.sort(key=lambda links: -links[0].evidence.weight)
        return [*supported[:MAX_SUPPORTED], *([alike] if alike else [])]

    # ------------------------------------------------------------ single photos

    def _with_single_photos(
        self,
        model: pycolmap.Reconstruction,
        models: Sequence[pycolmap.Reconstruction],
        is_no_worse: Callable[[Sequence[pycolmap.Reconstruction], pycolmap.Reconstruction], bool],
    ) -> pycolmap.Reconstruction:
        """The model with the photos that its links place, one after another, as long as there are any."""
        tried: set[str] = set()
        while True:
            held = reconstruction.names_in_any([*models, model])
            mine = reconstruction.registered_names(model)
            ends = {(link.pair.a, link.pair.b) for link in self._links}
            near = {b if a in mine else a for a, b in ends if (a in mine) != (b in mine)}
            name = min(near - held - tried, default=None)
            if name is None:
                return model
            tried.add(name)
            ready = self._triangulated(model)
            cameras, max_angle_deg = refined_cameras(self._run.database_path, [ready]), self._run.limits.max_cycle_deg
            between = placing.find_photo_ties(ready, name, self._links, cameras)
            everything = between
            if self._contradicted:
                everything = placing.find_photo_ties(ready, name, [*self._links, *self._contradicted], cameras)
            answer = self._unless_contradicted(between.align(max_angle_deg), everything)
            survey = gps.survey(between.target, between.source, self._run.positions_m, self._gps_sigma_m)
            if survey is not None and isinstance(answer, Apart) and _is_open(answer):
                answer = self._by_survey(answer, survey, between, everything)
            if isinstance(answer, Apart):
                self._apart[name] = f"{answer.detail}; wanted: {answer.wanted}"
                continue
            by_gps = "" if survey is None else _told(survey, answer, between, answer.target_from_source)
            attached = placing.attach(ready, name, answer, self._run.database_path)
            placed = self._adjusted(attached, [mine], by_gps=by_gps)
            if is_no_worse([model], placed.model):
                self._believe(placed)
                model, tried = placed.model, set()

    # ------------------------------------------------------------ models

    def _adjusted(
        self,
        model: pycolmap.Reconstruction,
        bases: Sequence[frozenset[str]],
        confirmed: Sequence[Link] = (),
        by_gps: str = "",
    ) -> _Grown:
        """The model with its tracks completed, adjusted to them and to the links."""
        mapper = incremental_mapper.mapper_options(self._run.base, self._run.seed)
        held = self._run.given if self._run.has_given(model) else {}
        if held:
            known_model.hold(mapper, model, held)
        links: Sequence[AdjustedLink] = ()
        for _ in range(ROUNDS):
            adjusted = adjustment.adjust(
                self._triangulated(model), [*self._links, *confirmed], bases=bases, held=held, mapper=mapper
            )
            model, links = adjusted.model, adjusted.links
        return _Grown(self._triangulated(model), self._run.database_path, confirmed, links, by_gps)

    def _believe(self, grown: _Grown) -> None:
        """Believe what a model rests on, now that it takes the place of others."""
        if grown.database_path != self._run.database_path:
            databases.copy_database(grown.database_path, self._run.database_path)
        self._links.extend(grown.confirmed)
        self._confirmed.update({link.pair: (link, _why(link)) for link in grown.confirmed})
        self._adjusted_links.update({link.pair: link for link in grown.adjusted if link.b_from_a is not None})
        self._remarks.extend([grown.by_gps] if grown.by_gps else [])
        if self._is_guessing:
            name = min(reconstruction.registered_names(grown.model))
            self._remarks.append(f"scale or distance in the model of {name} rests on what a pose network guesses")

    def _triangulated(self, model: pycolmap.Reconstruction) -> pycolmap.Reconstruction:
        self._num_folders += 1
        return self._run.triangulated(model, self._run.work_dir / str(self._num_folders))


def _scales_differ(one: Similarity, other: Similarity) -> bool:
    """Whether two similarities are not variants of one another."""
    return abs(float(np.log(one.scale / other.scale))) > SAME_SCALE


def _why(confirmed: Link) -> str:
    """Why a candidate is believed."""
    if confirmed.proposal is None:
        return "its rotation is the one that all other links and models predict"
    return "its matches support the pose that all other links and models predict, as much as any other"


def _vetoed(answer: Alignment, with_contradicted: Alignment | Apart) -> Alignment | Apart:
    is_vetoed = isinstance(with_contradicted, Apart) and with_contradicted.reason is ApartReason.CONTRADICTION
    return with_contradicted if is_vetoed else answer


def _is_open(answer: Apart, sightings: Sequence[Sighting] = ()) -> bool:
    """Whether nothing but the scale, or the distance, is missing, and too few points are seen to find it by pixels."""
    has_pixels = num_points(sightings) >= overlaps.MIN_COMMON_POINTS
    return answer.reason is ApartReason.NO_SCALE or (answer.reason is ApartReason.UNSURE_SCALE and not has_pixels)


def _told(survey: gps.Survey, answer: Alignment | Apart, between: placing.Between, similarity: Similarity) -> str:
    """What GPS has to do with a similarity; empty if nothing, and nothing to say against it."""
    if isinstance(answer, Alignment) and answer.cue is ScaleCue.GPS:
        return survey.told(answer, between)
    return survey.contradiction(similarity)
