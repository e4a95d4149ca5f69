"""The commands: each has its options, does its work by the library, and says what came of it.

Options and their defaults come from the option dataclasses, help texts from their docstrings.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar

import tyro
from tyro.conf import Positional

from interpose_sfm.cli import terminal, text
from interpose_sfm.cli.command import FAILED, OK, UNUSABLE, Command, Outcome
from interpose_sfm.cli.demo import DemoOptions, run_demo
from interpose_sfm.cli.export import Export, FormatList, split
from interpose_sfm.cli.look import Report, View
from interpose_sfm.doctor import cannot_reconstruct, diagnose
from interpose_sfm.engines.shard import Shard
from interpose_sfm.options import UNUSED_BY_BRIDGE, UNUSED_BY_MATCH, InterposeOptions, ReconstructOptions
from interpose_sfm.products import ClipState, LinkVerdict
from interpose_sfm.run_log import Progress

if TYPE_CHECKING:
    from interpose_sfm.pose.da3.architectures import Published

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_Flat = Annotated[_T, tyro.conf.arg(name="")]  # options of a command without a name of their own


@dataclass(frozen=True, kw_only=True)
class _Reconstruct(Command):
    """Reconstruct a folder of photos, or a video.

    Writes COLMAP models (sparse/0 is the largest), a point cloud and report.json. The same command goes on where an
    interrupted one stopped.

    Attributes:
        photos: Folder of the photos, sub-folders included, or a video.
        output: Output folder (default: PHOTOS_interpose beside the photos).
        export: Write the models for other programs as well, as the command export does: some of nerfstudio,
            undistorted, masks, text, ply and mesh, apart by commas.
    """

    photos: Annotated[Positional[Path], tyro.conf.arg(metavar="PHOTOS")]
    output: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    export: FormatList = ""
    options: _Flat[ReconstructOptions] = field(default_factory=ReconstructOptions)

    keeps_its_work: ClassVar[bool] = True

    def run(self, progress: Progress) -> Outcome:
        from interpose_sfm.workflows.export_models import export_models
        from interpose_sfm.workflows.reconstruct import reconstruct

        formats = split(self.export) if self.export else ()  # a wrong name is told before the work begins
        start = time.monotonic()
        result = reconstruct(self.photos, self.output, self.options, progress)
        for warning in result.report.warnings:
            logger.warning("%s", warning)
        if not result.report.photos:
            logger.error("no model could be built: %s holds no photo whose name begins with no dot", self.photos)
            return Outcome(UNUSABLE, "", result)
        if not result.model_dirs:
            reasons = [photo.reason for photo in result.report.photos if photo.is_used]
            is_usable = len(reasons) >= 2
            shared = f": {reasons[0]}" if is_usable and len(set(reasons)) == 1 else ""
            logger.error(
                "no model could be built%s; %s says why for every photo", shared, result.output / "report.json"
            )
            return Outcome(FAILED if is_usable else UNUSABLE, "", result)
        exported = export_models(result.output, formats, progress=progress).folder if formats else None
        summary = text.reconstruction(result, time.monotonic() - start, exported)
        return Outcome(OK, summary, result, is_optional=True)


@dataclass(frozen=True, kw_only=True)
class _Pairs(Command):
    """List the pairs of photos that plain COLMAP leaves apart, and why. Changes nothing on disk.

    Attributes:
        photos: Folder of the photos, sub-folders included, or a video.
    """

    photos: Annotated[Positional[Path], tyro.conf.arg(metavar="PHOTOS")]
    options: _Flat[ReconstructOptions] = field(default_factory=ReconstructOptions)

    hidden_options: ClassVar[frozenset[str]] = frozenset(
        {
            "generator",
            "pose_estimator",
            "overwrite",
            "use_gps",
            "georegister",
            "html",
            "max_bridged_pairs",
            "bridging",
            "generation",
            "consistency",
            "consensus",
            "da3",
            "dust3r",
            "mapanything",
            "execution",
        }
    )

    def run(self, progress: Progress) -> Outcome:
        from interpose_sfm.workflows.reconstruct import find_weak_pairs

        graph = find_weak_pairs(self.photos, self.options, progress)
        data = {
            "photos": graph.names,
            "models": [sorted(model) for model in graph.models],
            "unregistered": graph.unregistered,
            "weak_pairs": [
                {"a": weak.pair.a, "b": weak.pair.b, "reasons": weak.reasons, "num_verified": weak.num_verified}
                for weak in graph.weak_pairs
            ],
        }
        return Outcome(OK, text.weak_pairs(graph), data)


@dataclass(frozen=True, kw_only=True)
class _Bridge(Command):
    """Make bridging clips with a video model, without a reconstruction.

    The clips lie in the output folder, or in --clip-store; relpose and reconstruct use them on any machine. Clips that
    exist are not made again, so the same command goes on where an interrupted one stopped. Exits with 1 if a clip could
    not be made.

    Attributes:
        photos: Folder of the photos, sub-folders included, or a video.
        output: Output folder (default: PHOTOS_interpose beside the photos).
        pairs: Photos to bridge, two names each (default: the weak pairs, most promising first).
        pair_file: File with the pairs to bridge, two names a line.
        dry_run: List pairs, clips, time, memory and cost, and make no clip.
        sheet: Write contact sheets, a picture per pair with the frames of its clips, to look over before they are used.
        shard: Share I of N, as I/N, of the pairs; every machine takes another one.
    """

    photos: Annotated[Positional[Path], tyro.conf.arg(metavar="PHOTOS")]
    output: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    pairs: Annotated[tuple[str, ...], tyro.conf.arg(metavar="A B ...", help_behavior_hint="")] = ()
    pair_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    dry_run: bool = False
    sheet: bool = False
    shard: Annotated[str, tyro.conf.arg(metavar="I/N")] = "1/1"
    options: _Flat[ReconstructOptions] = field(default_factory=ReconstructOptions)

    hidden_options: ClassVar[frozenset[str]] = UNUSED_BY_BRIDGE
    keeps_its_work: ClassVar[bool] = True

    def run(self, progress: Progress) -> Outcome:
        from interpose_sfm.workflows.make_clips import bridge_photos

        if self.pairs and self.pair_file is not None:
            raise ValueError("got both --pairs and --pair-file, expected one of them")
        if len(self.pairs) % 2:
            raise ValueError(f"got {len(self.pairs)} names after --pairs, expected two for each pair")
        pairs = self.pair_file or tuple(zip(self.pairs[::2], self.pairs[1::2], strict=True))
        result = bridge_photos(
            self.photos,
            self.output,
            self.options,
            pairs,
            is_dry_run=self.dry_run,
            with_sheets=self.sheet,
            shard=Shard.parse(self.shard),
            progress=progress,
        )
        code = FAILED if result.count(ClipState.FAILED) else OK
        return Outcome(code, text.bridge(result), result)


@dataclass(frozen=True, kw_only=True)
class _Match(Command):
    """Match the weak pairs with learned features, and do nothing else; on several machines a share of them on each.

    Features and matches lie in the output folder, or in --store, where reconstruct finds them. Exits with 1 if a pair
    could not be matched.

    Attributes:
        photos: Folder of the photos, sub-folders included, or a video.
        output: Output folder (default: PHOTOS_interpose beside the photos).
        pair_file: File with the pairs to match, two names a line (default: the weak pairs).
        shard: Share I of N, as I/N, of the pairs; every machine takes another one.
    """

    photos: Annotated[Positional[Path], tyro.conf.arg(metavar="PHOTOS")]
    output: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    pair_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    shard: Annotated[str, tyro.conf.arg(metavar="I/N")] = "1/1"
    options: _Flat[ReconstructOptions] = field(default_factory=ReconstructOptions)

    hidden_options: ClassVar[frozenset[str]] = UNUSED_BY_MATCH
    keeps_its_work: ClassVar[bool] = True

    def run(self, progress: Progress) -> Outcome:
        from interpose_sfm.workflows.match_pairs import match_photos

        shard = Shard.parse(self.shard)
        pairs = self.pair_file or ()
        result = match_photos(self.photos, self.output, self.options, pairs, shard=shard, progress=progress)
        return Outcome(FAILED if result.failed else OK, text.matched(result), result)


@dataclass(frozen=True, kw_only=True)
class _Merge(Command):
    """Put what several machines have made into one output folder: learned features and matches, hypotheses and clips.

    Attributes:
        output: Output folder of a run, or a new one.
        sources: Output folders or stores of other runs on the same photos; nothing is written there.
    """

    output: Annotated[Positional[Path], tyro.conf.arg(metavar="OUTPUT")]
    sources: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FROM")]

    def run(self, progress: Progress) -> Outcome:
        from interpose_sfm.workflows.merge_stores import merge_outputs

        result = merge_outputs(self.output, self.sources)
        return Outcome(OK, text.merged(result), result)


@dataclass(frozen=True, kw_only=True)
class _RelativePose(Command):
    """Find the relative pose of two photos.

    Exits with 1 if there is no pose or the evidence for it does not suffice; a refused pose is printed all the same.

    Attributes:
        a: First photo.
        b: Second photo.
    """

    a: Annotated[Positional[Path], tyro.conf.arg(metavar="A")]
    b: Annotated[Positional[Path], tyro.conf.arg(metavar="B")]
    options: _Flat[ReconstructOptions] = field(default_factory=ReconstructOptions)

    hidden_options: ClassVar[frozenset[str]] = frozenset(
        {
            *("database", "known_poses", "camera_mode", "overwrite", "recursive", "image_list", "num_frames_target"),
            *("use_gps", "position_file", "georegister", "html", "base", "pairing", "view_graph", "max_cycle_deg"),
        }
    )

    def run(self, progress: Progress) -> Outcome:
        from interpose_sfm.workflows.relative_pose import relative_pose

        result = relative_pose(self.a, self.b, self.options, progress)
        code = OK if result.verdict is LinkVerdict.ACCEPTED else FAILED
        return Outcome(code, text.relative_pose(result), result)


@dataclass(frozen=True, kw_only=True)
class _Fetch(Command):
    """Fetch weights of a pose network into the cache of the Hugging Face hub: da3 or da3-base. No run does so unasked.

    The licence and the size are said first. A download that broke off goes on where it stopped.

    Attributes:
        name: da3 for DA3-SMALL, da3-base for DA3-BASE.
    """

    name: Annotated[Positional[str], tyro.conf.arg(metavar="NAME")]

    keeps_its_work: ClassVar[bool] = True

    def run(self, progress: Progress) -> Outcome:
        from interpose_sfm.workflows.fetch_weights import fetch_weights

        def announce(item: Published) -> None:
            if not self.quiet:
                terminal.show(text.licence(item), sys.stderr)

        result = fetch_weights(self.name, announce, progress)
        return Outcome(OK, str(result.path), result)


@dataclass(frozen=True, kw_only=True)
class _Doctor(Command):
    """Show which backends are usable on this machine, and how to install the others.

    Exits with 1 if something is missing that reconstruct cannot do without.
    """

    def run(self, progress: Progress) -> Outcome:
        checks = diagnose()
        missing = cannot_reconstruct(checks)
        data = {"can_reconstruct": not missing, "checks": checks}
        return Outcome(FAILED if missing else OK, text.checks(checks, missing), data)


@dataclass(frozen=True, kw_only=True)
class _Demo(Command):
    """Render a small collection of photos, reconstruct it, and compare with the truth.

    Attributes:
        output: Output folder.
    """

    output: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("demo_output")
    options: _Flat[DemoOptions] = field(default_factory=DemoOptions)

    hidden_options: ClassVar[frozenset[str]] = frozenset({"reconstruct"})
    keeps_its_work: ClassVar[bool] = True

    def run(self, progress: Progress) -> Outcome:
        result = run_demo(self.output, self.options, progress)
        code = OK if result.reconstruction.model_dirs else FAILED
        return Outcome(code, text.demo(result), result)


@dataclass(frozen=True, kw_only=True)
class Hook(Command):
    """Run a Python script of yours with pycolmap.incremental_mapping replaced by the drop-in.

    Usage: hook [options] -- SCRIPT [ARGUMENT ...], or hook [options] -- -m MODULE [ARGUMENT ...]. What the script
    prints and exits with stays as it is; what the drop-in did is said on stderr and in DATABASE_interpose/report.json.
    """

    options: _Flat[InterposeOptions] = field(default_factory=InterposeOptions)
    script: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()


COMMANDS: Mapping[str, type[Command]] = {
    "reconstruct": _Reconstruct,
    "pairs": _Pairs,
    "match": _Match,
    "bridge": _Bridge,
    "merge": _Merge,
    "relpose": _RelativePose,
    "export": Export,
    "report": Report,
    "view": View,
    "fetch": _Fetch,
    "doctor": _Doctor,
    "demo": _Demo,
    "hook": Hook,
}
