"""Accepted links into models: base models continued, joined and audited."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm.colmap import incremental_mapper, link_rows, reconstruction
from interpose_sfm.joining.joiner import LinkSource, ModelJoiner
from interpose_sfm.matching import verification
from interpose_sfm.options import ReconstructOptions
from interpose_sfm.pairs import consensus
from interpose_sfm.pairs.pair_pose import PairPoser
from interpose_sfm.pairs.records import PairRecord, accepted_links
from interpose_sfm.products import PAIR_ALONE, ImagePair, Intrinsics, Link, LinkDecision, LinkVerdict, Pose, ViewGraph

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

MAX_BASE_CHANGE_DEG = 5.0  # a continued model that turns the base model's photos further has gone wrong
WEAK_EVIDENCE = (
    LinkVerdict.LOW_SHARE,
    LinkVerdict.LOW_SCORE,
    LinkVerdict.LOW_DENSITY,
    LinkVerdict.NOT_CALIBRATED,
)  # of links that may still be right; what contradicts others may not
NEIGHBOURS = 3  # base photos around each end of a link that are matched anew, so that its points get a depth


@dataclass(frozen=True)
class FinalMapper:
    """Stage 9 of a run.

    Attributes:
        database_path: A copy of the base stage's database that may be written to.
        image_dir: The photos.
        work_dir: Folder for temporary models.
        options: Of the run.
        warnings: Gets a sentence for everything the user should know.
    """

    database_path: Path
    image_dir: Path
    work_dir: Path
    options: ReconstructOptions
    warnings: list[str]

    def map_links(
        self,
        base: Sequence[pycolmap.Reconstruction],
        records: Sequence[PairRecord],
        graph: ViewGraph,
        poser: PairPoser,
    ) -> list[pycolmap.Reconstruction]:
        """Write the accepted links into the database and go on from the base models.

        Args:
            base: Base models, largest first.
            records: All weak pairs; links that an adjusted model contradicts are marked as dropped.
            graph: The view graph of the base stage.
            poser: For learned matches around the ends of links.

        Returns:
            The final models, largest first.
        """
        accepted = accepted_links(records)
        link_rows.inject_links(self.database_path, [*accepted, *support_links(accepted, graph, poser, self.options)])
        base_poses = [reconstruction.poses(model) for model in base]
        models = self._audited(self._continued(base), base_poses, records)
        models += self._remaining(models, accepted, records) if base else []
        joiner = ModelJoiner(
            self.database_path,
            self.image_dir,
            self.work_dir / "joining",
            self.options,
            accepted,
            _link_source(records, graph, poser, self.options),
            [r.decision.link for r in records if r.decision is not None and r.verdict is LinkVerdict.CONTRADICTED],
        )
        models = joiner.join_all(models, self._is_no_worse)
        self.warnings.extend(f"models stay apart: {sentence}" for sentence in joiner.wanted)
        for record in records:
            adjusted = joiner.adjusted.get(record.weak.pair)
            if adjusted is not None and adjusted.is_contradicted and record.decision is not None:
                record.take(replace(record.decision, verdict=LinkVerdict.DROPPED, detail=adjusted.detail))
        return reconstruction.drop_covered(self._audited(models, base_poses, records))

    def _continued(self, base: Sequence[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
        """Base models continued with the links, the largest first; without one, models from scratch."""
        if not base:
            folder = self.work_dir / "scratch"
            folder.mkdir()
            return incremental_mapper.map_base(
                self.database_path, self.image_dir, folder, self.options.base, self.options.seed
            )
        models: list[pycolmap.Reconstruction] = []
        for index, model in enumerate(base):
            if any(reconstruction.registered_names(model) <= reconstruction.registered_names(m) for m in models):
                continue
            folder = self.work_dir / f"model{index}"
            grown = self._grown(self._triangulated(model, folder / "triangulated"), folder / "grown")
            has_gained = grown.num_reg_images() > model.num_reg_images() and self._is_no_worse([model], grown)
            models.append(grown if has_gained else model)  # no gain, no change
        return models

    def _remaining(
        self, models: Sequence[pycolmap.Reconstruction], links: Sequence[Link], records: Sequence[PairRecord]
    ) -> list[pycolmap.Reconstruction]:
        """Models of the linked photos that the others leave out, and of those that links join them to."""
        held = frozenset().union(*(reconstruction.registered_names(model) for model in models))
        left = sorted({name for link in links for name in (link.pair.a, link.pair.b)} - held)
        if not left:
            return []
        found = incremental_mapper.map_remaining(
            _with_link_partners(left, links),
            self.database_path,
            self.image_dir,
            self.work_dir / "remaining",
            self.options.base,
            self.options.seed,
        )
        return self._audited(found, [], records)

    def _triangulated(self, model: pycolmap.Reconstruction, folder: Path) -> pycolmap.Reconstruction:
        return incremental_mapper.triangulate(
            model, self.database_path, self.image_dir, folder, self.options.base, self.options.seed
        )

    def _grown(self, model: pycolmap.Reconstruction, folder: Path) -> pycolmap.Reconstruction:
        return incremental_mapper.continue_model(
            model, self.database_path, self.image_dir, folder, self.options.base, self.options.seed
        )

    def _is_no_worse(self, before: Sequence[pycolmap.Reconstruction], after: pycolmap.Reconstruction) -> bool:
        """False, with a warning, if a model lost a photo of those before, or turned them."""
        change_deg = max(reconstruction.largest_change_deg(model, after) for model in before)
        if change_deg <= MAX_BASE_CHANGE_DEG:
            return True
        names = ", ".join(str(model.num_reg_images()) for model in before)
        self.warnings.append(
            f"base models of {names} photos are kept as they were: going on with the links turned them by "
            f"{change_deg:.0f} degrees (180: lost a photo)"
        )
        return False

    def _audited(
        self,
        models: Sequence[pycolmap.Reconstruction],
        base_poses: Sequence[Mapping[str, Pose]],
        records: Sequence[PairRecord],
    ) -> list[pycolmap.Reconstruction]:
        """Models without photos that no agreeing relation holds; links that a model contradicts are marked dropped."""
        offered = [record for record in records if record.decision is not None]
        for model in models:
            cameras = reconstruction.model_cameras(model)
            decisions = [
                replace(record.decision, link=_refitted(record.decision.link, cameras, self.options.seed))
                for record in offered
                if record.decision is not None
            ]
            poses = reconstruction.poses(model)
            nearest_first = sorted(base_poses, key=lambda base: -len(base.keys() & poses.keys()))
            found = consensus.audit(poses, nearest_first, decisions, self.options.consensus)
            for index, error_deg in found.contradicted.items():
                detail = f"the adjusted model turns the pair {error_deg:.0f} degrees away from the link"
                offered[index].take(replace(decisions[index], verdict=LinkVerdict.DROPPED, detail=detail))
            if found.unsupported:
                names = ", ".join(sorted(found.unsupported))
                self.warnings.append(f"taken out again, since no accepted link agrees with their pose: {names}")
                reconstruction.remove_photos(model, found.unsupported)
        return reconstruction.sort_models(models, self.options.base.min_model_size)


def support_links(
    accepted: Sequence[Link], graph: ViewGraph, poser: PairPoser, options: ReconstructOptions
) -> list[Link]:
    """Learned matches between the ends of links and their neighbours in the base models.

    The key points of a link have no depth until they are also matched among photos whose poses are known.
    """
    ends = sorted({name for link in accepted for name in (link.pair.a, link.pair.b)})
    wanted: set[ImagePair] = set()
    for end in ends:
        near = [
            pair
            for pair in graph.verified
            if end in (pair.a, pair.b) and any(pair.a in model and pair.b in model for model in graph.models)
        ]
        wanted.update(sorted(near, key=lambda pair: (-graph.verified[pair], pair))[:NEIGHBOURS])
    links = []
    for pair in sorted(wanted):
        link = poser.match(pair)[1]
        if link is not None and consensus.judge(link, False, options.consensus).verdict is LinkVerdict.ACCEPTED:
            links.append(link)
    return links


def _link_source(
    records: Sequence[PairRecord], graph: ViewGraph, poser: PairPoser, options: ReconstructOptions
) -> LinkSource:
    """Further links of a run: weak pairs that were refused, or not tried because other links seemed to do."""
    by_pair = {record.weak.pair: record for record in records}
    late: dict[ImagePair, str] = {}  # pairs that joining was the first to match, and what their links have for them

    def candidates(first: frozenset[str], second: frozenset[str]) -> list[Link]:
        found = []
        for record in records:
            pair = record.weak.pair
            ends = {pair.a, pair.b}
            if not (ends & (first - second) and ends & (second - first)):
                continue
            if not record.tried:
                record.match(*poser.match(pair), True, options.consensus)
                if record.decision is not None and record.verdict is LinkVerdict.ACCEPTED:
                    late[pair] = record.detail
                    unused = "the models that it would join do not confirm it"
                    record.take(replace(record.decision, verdict=LinkVerdict.CONTRADICTED, detail=unused))
            if record.decision is not None and (record.verdict in WEAK_EVIDENCE or pair in late):
                found.append(record.decision.link)
        return found

    def confirm(link: Link, why: str) -> None:
        record = by_pair[link.pair]
        alone = late.pop(link.pair, record.detail)
        record.take(LinkDecision(link, LinkVerdict.ACCEPTED, f"{why}; by itself: {alone}"))

    return LinkSource(candidates, lambda links: support_links(links, graph, poser, options), confirm)


def _refitted(link: Link, cameras: Mapping[str, Intrinsics], seed: int) -> Link:
    """The link with its pose estimated anew by the cameras of an adjusted model, if that has both photos.

    The pose of a clip's link rests on more than the correspondences that reach both photos; it stays.
    """
    if link.source != PAIR_ALONE or link.pair.a not in cameras or link.pair.b not in cameras:
        return link
    pose = verification.pose_from_points(
        link.points_a_px, cameras[link.pair.a], link.points_b_px, cameras[link.pair.b], seed
    )
    return link if pose is None else replace(link, b_from_a=pose)


def _with_link_partners(names: Sequence[str], links: Sequence[Link]) -> list[str]:
    """The photos and those that links join them to."""
    partners = {n for link in links for n in (link.pair.a, link.pair.b) if {link.pair.a, link.pair.b} & set(names)}
    return sorted({*names, *partners})
