"""Clips from a video model: the `VideoGenerator` around any `VideoModel`.

A model turns two pictures of its own size into one video. What lies around it is the same for all: photos are fitted to
that size, both orders and both prompts are asked for, several devices share the work, paid clips stay within the limit,
and every finished clip is kept in the store and never made again.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial

from interpose_sfm.clips.fitting import fit_photo, rescaled
from interpose_sfm.clips.mp4 import encode_mp4, format_of
from interpose_sfm.clips.protocol import VideoGenerator, no_clip
from interpose_sfm.clips.reading import ClipReader
from interpose_sfm.clips.record import ClipRecord, ShownPhoto
from interpose_sfm.clips.video import UnreadableClipError
from interpose_sfm.engines.local import in_threads
from interpose_sfm.engines.protocol import Done, WorkerDiedError
from interpose_sfm.products import (
    Clip,
    ClipFormat,
    ClipRequest,
    ClipStatus,
    FrameMapping,
    GeneratorKind,
    ImagePair,
)
from interpose_sfm.storage.content_keys import content_key
from interpose_sfm.video_models.budget import Budget
from interpose_sfm.video_models.clip_plans import ClipPlan, Failure, Making, ModelMaker, PromptSource
from interpose_sfm.video_models.clip_store import ClipStore, StoredClip, Task
from interpose_sfm.video_models.protocol import (
    ClipEstimate,
    ClipTask,
    GenerationContext,
    GenerationError,
    MadeVideo,
    VideoModel,
)

MAX_CLIPS = 16
"""Different clips that are offered per pair: both orders of both prompts, with four seeds. The paper makes four."""

logger = logging.getLogger(__name__)
_MAX_SEED = 2**31


@dataclass(frozen=True)
class _Photo:
    key: str
    size_px: tuple[int, int]


class GeneratedClips(VideoGenerator):
    """Serves clips of a video model, from the store where they are and from the model where they are not.

    Two indices after one another share a prompt, for one clip in either order (`ClipRequest.backwards`), and the next
    two take the next prompt. A pair and the pair swapped have the same clips.
    """

    kind = GeneratorKind.IMAGINED

    def __init__(
        self,
        name: str,
        make_model: ModelMaker,
        devices: Sequence[str],
        context: GenerationContext,
        prompts: PromptSource,
    ) -> None:
        """Name the model and the store; loads and writes nothing.

        Args:
            name: Of the generator, as the user chose it.
            make_model: Builds the model for a device.
            devices: One worker each.
            context: Photos and options; has a folder for clips.
            prompts: What the clips show.

        Raises:
            ValueError: No folder, or options that the model does not know.
        """
        if context.clip_store is None:
            raise ValueError(f"the generator {name!r} needs a folder for its clips: set clip_store")
        self.name = name
        self._context, self._prompts = context, prompts
        self._make_model, self._devices = make_model, tuple(devices)
        self._models = [make_model(device) for device in devices]
        self._store = ClipStore(context.clip_store, context.photo_names)
        self._budget = Budget(self._store, context.generation)
        self._reader = ClipReader(name, context.load_image, context.bridging)
        self._photos: dict[str, _Photo] = {}
        self._failures: dict[str, Failure] = {}

    @property
    def store(self) -> ClipStore:
        """Where the clips are."""
        return self._store

    @property
    def num_workers(self) -> int:
        """How many clips are made at once."""
        return len(self._models)

    def num_clips(self, pair: ImagePair) -> int:
        """How many different clips are offered."""
        return MAX_CLIPS if {pair.a, pair.b} <= set(self._context.photo_names) else 0

    def generate(self, pair: ImagePair, request: ClipRequest) -> Clip:
        """Read a clip, which is made first if it is not in the store.

        Returns:
            The clip, or one with status NO_CLIP, GENERATION_FAILED, REFUSED or UNREADABLE and the reason in its detail.

        Raises:
            ValueError, ImportError: See `make_missing`.
        """
        name = f"{self.name}-{request.index}"
        if not 0 <= request.index < self.num_clips(pair):
            detail = f"there are {self.num_clips(pair)} clips of this pair"
            return no_clip(pair, self.name, name, ClipStatus.NO_CLIP, detail)
        plan = self.plan(pair, request)
        self.make_missing([plan])
        stored = self._store.find(plan.key)
        if stored is None:
            failure = self._failures[plan.key]
            return no_clip(pair, self.name, name, failure.status, failure.detail)
        return self.read(pair, stored)

    def read(self, pair: ImagePair, stored: StoredClip) -> Clip:
        """Read a finished clip from the store."""
        is_forwards = stored.record.ends[0].name == pair.a
        return self._reader.read(pair, stored.path, stored.path.name, is_forwards, stored.record)

    def plan(self, pair: ImagePair, request: ClipRequest) -> ClipPlan:
        """What a request means: prompt, order, seed, size, and what it takes."""
        ordered = ImagePair.sorted(pair.a, pair.b)
        prompts = self._prompts.prompts(ordered)
        prompt = prompts[request.index // 2 % len(prompts)]
        a, b = self._photo(ordered.a), self._photo(ordered.b)
        model = self._models[0]
        clip_format = model.format_for(a.size_px)
        seed = (request.seed + request.index) % _MAX_SEED
        ends = (b, a) if request.backwards else (a, b)
        key = content_key(
            self.name.partition(":")[0],
            dict(model.settings),
            [photo.key for photo in ends],
            self._context.generation.fit.value,
            [clip_format.width_px, clip_format.height_px, clip_format.num_frames, float(clip_format.fps)],
            prompt.text,
            prompt.negative,
            seed,
        )
        return ClipPlan(
            key=key,
            pair=ordered,
            backwards=request.backwards,
            number=request.index,
            prompt=prompt.text,
            negative_prompt=prompt.negative,
            seed=seed,
            format=clip_format,
            estimate=model.estimate(clip_format),
        )

    def is_missing(self, plan: ClipPlan) -> bool:
        """Whether a clip has yet to be made; False also where that failed in this run, or for good."""
        if self._store.find(plan.key) is not None or plan.key in self._failures:
            return False
        refusal = self._store.task(plan.key).refusal
        if refusal:
            detail = f"{refusal} (delete {self._store.task(plan.key).path} to ask again)"
            self._failures[plan.key] = Failure(ClipStatus.REFUSED, detail)
        return not refusal

    def expected(self, plan: ClipPlan) -> ClipEstimate:
        """What a clip is expected to take; where the model cannot tell how long, by what the store has of its kind."""
        estimate, model = plan.estimate, self._models[0]
        if estimate.time_s is not None:
            return estimate
        times_s = [
            record.time_s
            for record in self._store.records()
            if dict(record.settings) == dict(model.settings) and record.asked == plan.format
        ]
        if not times_s:
            return estimate
        basis = (
            f"{estimate.basis}; time by {len(times_s)} clips in the store" if estimate.basis else "clips in the store"
        )
        return replace(estimate, time_s=statistics.median(times_s), basis=basis)

    def failure(self, plan: ClipPlan) -> str:
        """Why a clip was not made; empty if nothing speaks against it."""
        failure = self._failures.get(plan.key)
        return "" if failure is None else failure.detail

    def prepare(self, pair: ImagePair, requests: Sequence[ClipRequest]) -> None:
        """Make the clips of a pair that are missing; see `make_missing`."""
        self.make_missing([self.plan(pair, request) for request in requests])

    def make_missing(self, plans: Sequence[ClipPlan]) -> None:
        """Make the clips that are missing, all devices at once, and free the memory of the models.

        A clip that cannot be made is a `failure`, and the others go on. Other processes may make clips in the same
        folder, and what they make is not made here; clips that cost money are made by one process alone.

        Raises:
            BudgetError: They would cost more than the options allow. Nothing was spent then.
            WorkspaceBusyError: Another process makes clips in the same folder, and one of the two spends money.
            ValueError, ImportError: What the user has to mend, such as a key or weights that are not there.
        """
        if not any(map(self.is_missing, plans)):
            return
        is_paid = any(plan.estimate.cost_usd > 0 for plan in plans)
        with self._store.locked() if is_paid else self._store.shared():
            missing = list({plan.key: plan for plan in plans if self.is_missing(plan)}.values())
            self._budget.check([(plan.key, plan.estimate) for plan in missing], self.name)
            self._prompts.close()  # before the model needs the memory
            try:
                elsewhere = self._make_all(missing, is_paid, wait=False)
                self._make_all(elsewhere, is_paid, wait=True)  # who has claimed them may die
            finally:
                self.close()
                self._store.look_again()
            for plan in missing:
                if self._store.find(plan.key) is None and plan.key not in self._failures:
                    detail = f"it was made elsewhere, and is not in {self._store.folder}, which all machines must see"
                    self._failures[plan.key] = Failure(ClipStatus.GENERATION_FAILED, detail)

    def _make_all(self, missing: Sequence[ClipPlan], is_paid: bool, *, wait: bool) -> list[ClipPlan]:
        """Make clips, by the engine if they cost nothing.

        Returns:
            Those that another process has claimed; none if they were waited for.

        Raises:
            BaseException: What a worker raised.
        """
        elsewhere = []
        with closing(self._begun(missing, is_paid, wait)) as results:
            for number, done in enumerate(results, start=1):
                plan = done.job
                if isinstance(done.error, WorkerDiedError):
                    self._failures[plan.key] = Failure(ClipStatus.GENERATION_FAILED, str(done.error))
                elif done.error is not None:
                    raise done.error
                elif done.value is not None and done.value.failure is not None:
                    self._failures[plan.key] = done.value.failure
                elif done.value is not None and done.value.is_elsewhere:
                    elsewhere.append(plan)
                self._tell(number - len(elsewhere), len(missing))
        return elsewhere

    def _begun(
        self, missing: Sequence[ClipPlan], is_paid: bool, wait: bool
    ) -> Generator[Done[ClipPlan, Making], None, None]:
        from interpose_sfm.video_models.clip_workers import ClipWorkerMaker

        context, models = self._context, iter(self._models)
        if is_paid or context.engine is None or context.engine.shares_memory or context.image_dir is None:
            number = min(len(self._models), max(1, len(missing)))
            return in_threads(lambda: partial(self.make_claimed, model=next(models), wait=wait), missing, number)
        if not self._store.is_for_several:
            raise ValueError(
                f"engine {context.engine.name}: the clip store {self._store.folder} is on a disk without file locks, "
                "by which processes share it; name a folder on another disk with --clip-store, or leave --engine out"
            )
        maker = ClipWorkerMaker(
            name=self.name,
            make_model=self._make_model,
            photo_names=context.photo_names,
            image_dir=context.image_dir,
            bridging=context.bridging,
            generation=context.generation,
            clip_store=self._store.folder,
            wait=wait,
        )
        has_gpu = self._models[0].needs_gpu or self._devices[0].startswith("cuda")
        return context.engine.map(maker, missing, gpus=context.worker_gpus if has_gpu else 0.0)

    def close(self) -> None:
        """Free the memory that the models hold."""
        for model in self._models:
            model.close()

    # -------------------------------------------------------- one clip

    def make_claimed(self, plan: ClipPlan, *, wait: bool, model: VideoModel | None = None) -> Making:
        """Make a clip, unless it is there or another process is making it; only while the store is locked or shared.

        Args:
            plan: Of the clip.
            wait: Whether to wait for who is making it.
            model: Which makes it; the first one by default.
        """
        with self._store.making(plan.key, wait=wait) as is_to_make:
            if is_to_make:
                return self._make(model or self._models[0], plan)
            return Making(is_elsewhere=self._store.find(plan.key) is None)

    def _make(self, model: VideoModel, plan: ClipPlan) -> Making:
        task = self._store.task(plan.key, plan.estimate.cost_usd)
        try:
            with self._budget.reserved(plan.key, plan.estimate):
                self._make_and_save(model, plan, task)
        except GenerationError as error:
            if error.is_final:
                task.refuse(str(error))
            status = ClipStatus.REFUSED if error.is_final else ClipStatus.GENERATION_FAILED
            logger.warning("no clip %d of %s and %s: %s", plan.number, plan.pair.a, plan.pair.b, error)
            return Making(Failure(status, str(error)))
        return Making()

    def _make_and_save(self, model: VideoModel, plan: ClipPlan, task: Task) -> StoredClip:
        size_px = plan.format.width_px, plan.format.height_px
        fitted = [
            fit_photo(self._context.load_image(name), *size_px, self._context.generation.fit) for name in plan.ends
        ]
        start = time.monotonic()
        made = model.make(
            ClipTask(
                key=plan.key,
                first=fitted[0][0],
                last=fitted[1][0],
                prompt=plan.prompt,
                negative_prompt=plan.negative_prompt,
                seed=plan.seed,
                format=plan.format,
            ),
            task,
        )
        data, actual = _video(made, plan.format)
        mappings = [rescaled(mapping, size_px, (actual.width_px, actual.height_px)) for _, mapping in fitted]
        shown = [self._shown(name, mapping) for name, mapping in zip(plan.ends, mappings, strict=True)]
        a, b = shown[::-1] if plan.backwards else shown
        record = ClipRecord(
            key=plan.key,
            sha256="",
            a=a,
            b=b,
            backwards=plan.backwards,
            generator=self.name,
            settings=dict(model.settings),
            revision=made.revision,
            prompt=plan.prompt,
            negative_prompt=plan.negative_prompt,
            seed=plan.seed,
            fit=self._context.generation.fit,
            asked=plan.format,
            got=actual,
            time_s=round(time.monotonic() - start, 3),
            cost_usd=made.cost_usd,
            made_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        return self._store.save(record, data, plan.number)

    def _shown(self, name: str, mapping: FrameMapping | None) -> ShownPhoto:
        width_px, height_px = self._photo(name).size_px
        return ShownPhoto(name=name, width_px=width_px, height_px=height_px, frame_from_photo=mapping)

    def _photo(self, name: str) -> _Photo:
        """Content and size of a photo, without keeping its pixels."""
        if name not in self._photos:
            image = self._context.load_image(name)
            self._photos[name] = _Photo(content_key(image), (image.shape[1], image.shape[0]))
        return self._photos[name]

    def _tell(self, done: int, total: int) -> None:
        if self._context.progress is not None:
            self._context.progress("making clips", done, total)


def _video(made: MadeVideo, asked: ClipFormat) -> tuple[bytes, ClipFormat]:
    """The file of a clip, and what it holds.

    Raises:
        GenerationError: It holds no video.
    """
    try:
        data = made.file or encode_mp4(made.frames, asked.fps)
        return data, format_of(data)
    except (UnreadableClipError, ValueError) as error:
        raise GenerationError(f"what the model returned is no video: {error}") from error
