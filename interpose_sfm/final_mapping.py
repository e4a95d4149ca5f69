"""Accepted links into models: base models continued, joined and audited."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm import consensus, joining, priors, reconstruction, verification
from interpose_sfm.alignment import Apart
from interpose_sfm.options import ReconstructOptions
from interpose_sfm.pair_pose import PairPoser
from interpose_sfm.pair_records import PairRecord, accepted_links
from interpose_sfm.products import ImagePair, Intrinsics, Link, LinkVerdict, Pose, ViewGraph

if TYPE_CHECKING:
    import pycolmap

logger = logging.getLogger(__name__)

MAX_BASE_CHANGE_DEG = 5.0  # a continued model that turns the base model's photos further has gone wrong
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
        priors.inject_links(self.database_path, [*accepted, *support_links(accepted, graph, poser, self.options)])
        base_poses = [reconstruction.poses(model) for model in base]
        models = self._audited(self._continued(base, accepted), base_poses, records)
        held = frozenset().union(*(reconstruction.registered_names(model) for model in models))
        left = sorted({name for link in accepted for name in (link.pair.a, link.pair.b)} - held)
        if base and left:
            more = reconstruction.map_remaining(
                _with_link_partners(left, accepted),
                self.database_path,
                self.image_dir,
                self.work_dir / "remaining",
                self.options.base,
                self.options.seed,
            )
            models += self._audited(more, [], records)
        return reconstruction.drop_covered(models)

    def _continued(
        self, base: Sequence[pycolmap.Reconstruction], links: Sequence[Link]
    ) -> list[pycolmap.Reconstruction]:
        """Base models continued with the links, the largest first; without one, models from scratch."""
        if not base:
            folder = self.work_dir / "scratch"
            folder.mkdir()
            return reconstruction.map_base(
                self.database_path, self.image_dir, folder, self.options.base, self.options.seed
            )
        models: list[pycolmap.Reconstruction] = []
        for index, model in enumerate(base):
            if any(reconstruction.registered_names(model) <= reconstruction.registered_names(m) for m in models):
                continue
            folder = self.work_dir / f"model{index}"
            ready = self._triangulated(model, folder / "triangulated")
            if not self._joins(models, model, ready, links, folder):
                grown = self._unless_worse([model], self._grown(ready, folder / "grown"))
                has_gained = grown is not None and grown.num_reg_images() > model.num_reg_images()
                models.append(grown if grown is not None and has_gained else model)  # no gain, no change
        return models

    def _joins(
        self,
        models: list[pycolmap.Reconstruction],
        model: pycolmap.Reconstruction,
        ready: pycolmap.Reconstruction,
        links: Sequence[Link],
        folder: Path,
    ) -> bool:
        """Whether a model could be joined to one of the earlier ones, which is replaced by both together."""
        for position, other in enumerate(models):
            found = joining.find_join(other, ready, links, self.database_path, self.options.seed)
            if isinstance(found, Apart):
                logger.info("models stay apart: %s", found.detail)
                continue
            joined = self._triangulated(
                joining.join(other, ready, found, self.database_path), folder / f"joined{position}"
            )
            merged = self._unless_worse([other, model], self._grown(joined, folder / f"merged{position}"))
            if merged is not None:
                models[position] = merged
                return True
        return False

    def _triangulated(self, model: pycolmap.Reconstruction, folder: Path) -> pycolmap.Reconstruction:
        return reconstruction.triangulate(
            model, self.database_path, self.image_dir, folder, self.options.base, self.options.seed
        )

    def _grown(self, model: pycolmap.Reconstruction, folder: Path) -> pycolmap.Reconstruction:
        return reconstruction.continue_model(
            model, self.database_path, self.image_dir, folder, self.options.base, self.options.seed
        )

    def _unless_worse(
        self, before: Sequence[pycolmap.Reconstruction], after: pycolmap.Reconstruction
    ) -> pycolmap.Reconstruction | None:
        """The model after, or None if it lost a photo or turned the photos of a model before."""
        change_deg = max(reconstruction.largest_change_deg(model, after) for model in before)
        if change_deg <= MAX_BASE_CHANGE_DEG:
            return after
        names = ", ".join(str(model.num_reg_images()) for model in before)
        self.warnings.append(
            f"base models of {names} photos are kept as they were: going on with the links turned them by "
            f"{change_deg:.0f} degrees (180: lost a photo)"
        )
        return None

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


def _refitted(link: Link, cameras: Mapping[str, Intrinsics], seed: int) -> Link:
    """The link with its pose estimated anew by the cameras of an adjusted model, if that has both photos."""
    if link.pair.a not in cameras or link.pair.b not in cameras:
        return link
    pose = verification.pose_from_points(
        link.points_a_px, cameras[link.pair.a], link.points_b_px, cameras[link.pair.b], seed
    )
    return link if pose is None else replace(link, b_from_a=pose)


def _with_link_partners(names: Sequence[str], links: Sequence[Link]) -> list[str]:
    """The photos and those that links join them to."""
    partners = {n for link in links for n in (link.pair.a, link.pair.b) if {link.pair.a, link.pair.b} & set(names)}
    return sorted({*names, *partners})
