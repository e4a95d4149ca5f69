"""Accepted links into models: base models continued, joined and audited."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from interpose_sfm.colmap import databases, incremental_mapper, lifted_limits, link_rows, reconstruction
from interpose_sfm.colmap.constants import MAX_ERROR_PX
from interpose_sfm.joining.audit import audit
from interpose_sfm.joining.joiner import LinkSource, ModelJoiner
from interpose_sfm.joining.mapping_run import MappingRun
from interpose_sfm.matching import verification
from interpose_sfm.options import Mapper
from interpose_sfm.products import PAIR_ALONE, ImagePair, Intrinsics, Link, Pose

if TYPE_CHECKING:
    import pycolmap

MAX_STARTS = 5  # links that are tried as the start of a model, one after another
WIDE_ANGLE_DEG = 16.0  # COLMAP's init_min_tri_angle: a wider one makes no better start
MAX_BASE_CHANGE_DEG = 5.0  # a continued model that turns the base model's photos further has gone wrong


@dataclass(frozen=True)
class Dropped:
    """A link that an adjusted model contradicts.

    Attributes:
        link: As it was offered, or refitted by the cameras of that model.
        detail: What speaks against it.
    """

    link: Link
    detail: str


@dataclass(frozen=True)
class FinalModels:
    """What the links made of the base models.

    Attributes:
        models: Largest first.
        confirmed: Links beyond the accepted ones that the models rest on, by pair, and why each is believed.
        dropped: Links that the adjusted models contradict, by pair.
        warnings: A sentence for everything the user should know.
    """

    models: tuple[pycolmap.Reconstruction, ...]
    confirmed: Mapping[ImagePair, tuple[Link, str]]
    dropped: Mapping[ImagePair, Dropped]
    warnings: tuple[str, ...]


class FinalMapper:
    """Stage 9 of a run; made anew for every run."""

    def __init__(self, run: MappingRun) -> None:
        self.run = run
        self.warnings: list[str] = []
        self._held: dict[ImagePair, Link] = {}  # links that count by now
        self._dropped: dict[ImagePair, Dropped] = {}

    def map_links(
        self,
        base_models: Sequence[pycolmap.Reconstruction],
        accepted: Sequence[Link],
        source: LinkSource,
        contradicted: Sequence[Link] = (),
    ) -> FinalModels:
        """Write the accepted links into the database and go on from the base models.

        Args:
            base_models: Largest first.
            accepted: Links that are believed; without any, models that share a photo are asked about alone.
            source: Of further links, where models could be joined but for one.
            contradicted: Links of good evidence that others contradict.
        """
        self._held = {link.pair: link for link in accepted}
        base_models = self._given_first(base_models)
        link_rows.inject_links(self.run.database_path, [*accepted, *source.support(accepted)])
        base_poses = [reconstruction.poses(model) for model in base_models]
        as_given = [copy.deepcopy(model) for model in base_models]
        models = list(base_models)
        if accepted:
            models = self._audited(self.continued(base_models), base_poses)
            models += self._remaining(models, accepted) if base_models else []
        models = self._given_first(models)  # others are moved into its frame
        joiner = ModelJoiner(replace(self.run, work_dir=self.run.work_dir / "joining"))
        joined = joiner.join_all(models, accepted, source, self._is_no_worse, contradicted)
        self.warnings.extend(f"models stay apart: {sentence}" for sentence in joined.apart)
        self.warnings.extend(joined.remarks)
        self._held.update({link.pair: link for link, _ in joined.confirmed})
        for pair, adjusted in joined.adjusted.items():
            if adjusted.is_contradicted and pair in self._held:
                self._drop(pair, Dropped(self._held[pair], adjusted.detail))
        return FinalModels(
            # A base model whose link to another one falls in the audit is still a model.
            tuple(reconstruction.drop_covered([*self._audited(joined.models, base_poses), *as_given])),
            {link.pair: (link, why) for link, why in joined.confirmed},
            self._dropped,
            tuple(self.warnings),
        )

    def continued(self, base_models: Sequence[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
        """Base models continued with the links, the largest first; without one, models from scratch."""
        if not base_models:
            return self._anew(self.run.work_dir / "scratch")
        models: list[pycolmap.Reconstruction] = []
        for index, model in enumerate(base_models):
            if any(reconstruction.registered_names(model) <= reconstruction.registered_names(m) for m in models):
                continue
            folder = self.run.work_dir / f"model{index}"
            grown = self._grown(self.run.triangulated(model, folder / "triangulated"), folder / "grown")
            has_gained = grown.num_reg_images() > model.num_reg_images() and self._is_no_worse([model], grown)
            models.append(grown if has_gained else model)  # no gain, no change
        return models

    def _remaining(
        self, models: Sequence[pycolmap.Reconstruction], links: Sequence[Link]
    ) -> list[pycolmap.Reconstruction]:
        """Models of the linked photos that the others leave out, and of those that links join them to."""
        held = reconstruction.names_in_any(models)
        left = sorted({name for link in links for name in (link.pair.a, link.pair.b)} - held)
        if not left:
            return []
        asked = [name for name in _with_link_partners(left, links) if name not in self.run.given]
        remaining = self._anew(self.run.work_dir / "remaining", asked) if asked else []
        return self._audited(remaining, [])

    def _given_first(self, models: Sequence[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
        """The models in their order, but that of photos whose poses were handed in before all others."""
        return sorted(models, key=lambda model: not self.run.has_given(model))

    def _anew(self, folder: Path, names: Sequence[str] = ()) -> list[pycolmap.Reconstruction]:
        """Models (of some photos) from scratch: plain, else with lifted limits, else started from a link's pose."""
        models = self._mapped(folder / "plain", names)
        if models or not self.run.base.lift_limits or self.run.base.mapper is Mapper.GLOBAL:
            return models
        asked = names or sorted(databases.camera_ids(self.run.database_path))
        if not lifted_limits.are_cameras_held(self.run.database_path, asked):
            return []
        return self._believed(self._mapped(folder / "lifted", names, lifts_limits=True)) or self._started(
            folder / "started", asked
        )

    def _mapped(
        self, folder: Path, names: Sequence[str], *, lifts_limits: bool = False
    ) -> list[pycolmap.Reconstruction]:
        return incremental_mapper.map_remaining(
            names,
            self.run.database_path,
            self.run.image_dir,
            folder,
            self.run.base,
            self.run.seed,
            lifts_limits=lifts_limits,
        )

    def _started(self, folder: Path, names: Sequence[str]) -> list[pycolmap.Reconstruction]:
        """The first model that a link's pose starts, so that accepted links are not left without one."""
        held = [link for link in self._held.values() if {link.pair.a, link.pair.b} <= set(names)]
        links = [link for link in held if _start_strength(link) > 0]  # not those that carry a pose alone
        links.sort(key=lambda link: (-_start_strength(link), link.pair))
        for index, link in enumerate(links[:MAX_STARTS]):
            start = incremental_mapper.start_from_link(link, self.run.database_path, self.run.base, self.run.seed)
            if start is None:
                continue
            grown = incremental_mapper.continue_model(
                start,
                self.run.database_path,
                self.run.image_dir,
                folder / str(index),
                self.run.base,
                self.run.seed,
                names=names,
                lifts_limits=True,
            )
            models = self._believed([grown])
            if models:
                return models
        return []

    def _believed(self, models: Sequence[pycolmap.Reconstruction]) -> list[pycolmap.Reconstruction]:
        """Of models that lifted limits gave, those that nothing speaks against, without photos that matches refute."""
        kept = []
        for model in models:
            judged = lifted_limits.judge(model, self.run.database_path, MAX_ERROR_PX)
            if judged.fault:
                self.warnings.append(f"a model of {model.num_reg_images()} photos is not believed: {judged.fault}")
                continue
            if judged.refuted:
                names = ", ".join(sorted(judged.refuted))
                self.warnings.append(f"taken out again, since most of their matches speak against their pose: {names}")
                reconstruction.remove_photos(model, judged.refuted)
            kept.append(model)
        return reconstruction.sort_models(kept, self.run.base.min_model_size)

    def _grown(self, model: pycolmap.Reconstruction, folder: Path) -> pycolmap.Reconstruction:
        run = self.run
        return incremental_mapper.continue_model(
            model, run.database_path, run.image_dir, folder, run.base, run.seed, held=run.given
        )

    def _is_no_worse(self, before: Sequence[pycolmap.Reconstruction], after: pycolmap.Reconstruction) -> bool:
        """False, with a warning, if a model lost a photo of those before, or turned them."""
        change_deg = max(reconstruction.largest_change_deg(model, after) for model in before)
        if change_deg <= MAX_BASE_CHANGE_DEG:
            return True
        names = ", ".join(str(model.num_reg_images()) for model in before)
        kept = [reconstruction.registered_names(model) <= reconstruction.registered_names(after) for model in before]
        harm = f"turned their photos by {change_deg:.0f} degrees" if all(kept) else "lost some of their photos"
        self.warnings.append(f"base models of {names} photos are kept as they were: going on with the links {harm}")
        return False

    def _audited(
        self, models: Sequence[pycolmap.Reconstruction], base_poses: Sequence[Mapping[str, Pose]]
    ) -> list[pycolmap.Reconstruction]:
        """Models without photos that no agreeing relation holds; links that a model contradicts are dropped."""
        for model in models:
            cameras = reconstruction.model_cameras(model)
            links = [_refitted(link, cameras, self.run.seed) for link in self._held.values()]
            poses = reconstruction.poses(model)
            nearest_first = sorted(base_poses, key=lambda base: -len(base.keys() & poses.keys()))
            audited = audit(poses, nearest_first, links, self.run.limits, self.run.given.keys() & poses.keys())
            for index, error_deg in audited.contradicted.items():
                detail = f"the adjusted model turns the pair {error_deg:.0f} degrees away from the link"
                self._drop(links[index].pair, Dropped(links[index], detail))
            if audited.unsupported:
                names = ", ".join(sorted(audited.unsupported))
                self.warnings.append(f"taken out again, since no accepted link agrees with their pose: {names}")
                reconstruction.remove_photos(model, audited.unsupported)
        return reconstruction.sort_models(models, self.run.base.min_model_size, self.run.given)

    def _drop(self, pair: ImagePair, dropped: Dropped) -> None:
        del self._held[pair]
        self._dropped[pair] = dropped


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


def _start_strength(link: Link) -> float:
    """How good a start a link is: points, and how well their depth is known as far as COLMAP cares."""
    return len(link.points_a_px) * min(link.evidence.triangulation_angle_deg, WIDE_ANGLE_DEG)


def _with_link_partners(names: Sequence[str], links: Sequence[Link]) -> list[str]:
    """The photos and those that links join them to."""
    partners = {n for link in links for n in (link.pair.a, link.pair.b) if {link.pair.a, link.pair.b} & set(names)}
    return sorted({*names, *partners})
