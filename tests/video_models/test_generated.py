"""Clips of a video model: what the model is asked for, what comes back, and that nothing is made or paid twice."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np
import pytest

import crossfade
from bridging_scene import context, generation_context, pan, similarity
from crossfade import CrossFade, made
from interpose_sfm.bridging.clips_on_disk import ClipsGenerator
from interpose_sfm.clips.mp4 import encode_mp4
from interpose_sfm.clips.protocol import BudgetError, check_clip, clip_requests
from interpose_sfm.engines.local import LocalEngine
from interpose_sfm.engines.protocol import Done
from interpose_sfm.options import Fit, GenerationOptions
from interpose_sfm.products import Clip, ClipRequest, ClipStatus, ImagePair
from interpose_sfm.storage.workspace import WorkspaceBusyError
from interpose_sfm.video_models.clip_plans import ClipPlan, ClipPrompt, Making
from interpose_sfm.video_models.devices import worker_devices
from interpose_sfm.video_models.generated import MAX_CLIPS, GeneratedClips
from interpose_sfm.video_models.protocol import ClipTask, GenerationError, MadeVideo, TaskJournal

A, B = "a.jpg", "b.jpg"
PAIR = ImagePair(A, B)
FRAMES = pan(seed=5, num_frames=13)
REQUESTS = clip_requests(4, seed=0)


class TwoPrompts:
    """A short and a long prompt that name the pair."""

    num_closed = 0

    def prompts(self, pair: ImagePair) -> Sequence[ClipPrompt]:
        return ClipPrompt(f"{pair.a} and {pair.b}", "people"), ClipPrompt("a long description of the scene")

    def close(self) -> None:
        self.num_closed += 1


class Bench:
    """A generator with its models at hand."""

    def __init__(
        self,
        folder: Path,
        devices: Sequence[str] = ("cpu",),
        model: Callable[[str, GenerationOptions, str], CrossFade] = CrossFade,
        photos: dict[str, np.ndarray] | None = None,
        **options: object,
    ) -> None:
        self.models: list[CrossFade] = []
        self.prompts = TwoPrompts()
        self.told: list[tuple[str, int, int]] = []
        self.photos = photos or {A: FRAMES[0], B: FRAMES[-1]}
        self.context = dataclasses.replace(
            generation_context(self.photos, folder, frames_per_clip=4, **options),
            progress=lambda *told: self.told.append(told),
        )

        def build(device: str) -> CrossFade:
            self.models.append(model("crossfade", self.context.generation, device))
            return self.models[-1]

        self.generator = GeneratedClips("crossfade", build, devices, self.context, self.prompts)

    def prepare(self, number: int = 4) -> None:
        self.generator.prepare(PAIR, clip_requests(number, 0))

    def on_disk(self, folder: Path) -> ClipsGenerator:
        """The generator that reads the clips in a folder."""
        return ClipsGenerator(context(self.photos, clip_dirs=(folder,), max_frame_px=320, frames_per_clip=4))

    def clip(self, index: int = 0, pair: ImagePair = PAIR) -> Clip:
        return check_clip(self.generator.generate(pair, clip_requests(index + 1, 0)[index]), pair)

    @property
    def tasks(self) -> list[ClipTask]:
        return [task for model in self.models for task in model.tasks]


# ---------------------------------------------------------------- what is asked for


def test_four_clips_are_two_prompts_in_two_orders_with_four_seeds(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.prepare()
    short, long_ = bench.prompts.prompts(PAIR)
    assert [task.prompt for task in bench.tasks] == [short.text, short.text, long_.text, long_.text]
    assert [task.negative_prompt for task in bench.tasks] == ["people", "people", "", ""]
    assert len({task.seed for task in bench.tasks}) == 4
    first, last = bench.tasks[0].first, bench.tasks[0].last
    for index, task in enumerate(bench.tasks):
        ends = (task.last, task.first) if index % 2 else (task.first, task.last)
        np.testing.assert_array_equal(ends[0], first)
        np.testing.assert_array_equal(ends[1], last)
        assert task.first.shape == (task.format.height_px, task.format.width_px, 3)
    assert [path.name for path in sorted(tmp_path.glob("*.mp4"))] == [
        "a__b_0.mp4", "a__b_1_ba.mp4", "a__b_2.mp4", "a__b_3_ba.mp4"
    ]  # fmt: skip
    assert bench.told == [("making clips", done, 4) for done in (1, 2, 3, 4)]


def test_more_clips_differ_in_their_seeds(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    plans = [bench.generator.plan(PAIR, request) for request in clip_requests(MAX_CLIPS, 0)]
    assert len({plan.key for plan in plans}) == MAX_CLIPS
    assert {plan.prompt for plan in plans[4:8]} == {plan.prompt for plan in plans[:4]}
    assert bench.clip(MAX_CLIPS).status is ClipStatus.NO_CLIP
    assert bench.generator.num_clips(ImagePair(A, "lost.jpg")) == 0
    assert not bench.tasks


@pytest.mark.parametrize(
    "change",
    [{"video_steps": 2}, {"fit": Fit.LETTERBOX}, {"video_frames": 5}, {"photos": {A: FRAMES[1], B: FRAMES[-1]}}],
)
def test_whatever_determines_a_clip_is_in_its_key(change: dict[str, object], tmp_path: Path) -> None:
    keys = [Bench(tmp_path, **options).generator.plan(PAIR, REQUESTS[0]).key for options in ({}, change)]  # type: ignore[arg-type]
    assert keys[0] != keys[1]
    assert keys[0] == Bench(tmp_path).generator.plan(PAIR, REQUESTS[0]).key


# ---------------------------------------------------------------- what comes back


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("pair", [PAIR, ImagePair(B, A)])
def test_frames_run_from_a_to_b_in_either_order(index: int, pair: ImagePair, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    photos = {A: FRAMES[0], B: FRAMES[-1]}
    clip = bench.clip(index, pair)
    assert clip.status is ClipStatus.OK, clip.detail
    assert len(clip.frames) == 4
    assert similarity(clip.frames[0], photos[pair.a]) > similarity(clip.frames[-1], photos[pair.a]) + 0.1
    assert similarity(clip.frames[-1], photos[pair.b]) > similarity(clip.frames[0], photos[pair.b]) + 0.1


def test_the_swapped_pair_has_the_same_clips(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    there, back = bench.clip(2), bench.clip(2, ImagePair(B, A))
    assert len(bench.tasks) == 1
    assert there.name == back.name
    for x, y in zip(there.frames, back.frames[::-1], strict=True):
        np.testing.assert_array_equal(x, y)
    assert there.frame_from_a == back.frame_from_b


@pytest.mark.parametrize("fit", list(Fit))
def test_photos_lie_in_the_frames_where_the_mapping_says(fit: Fit, tmp_path: Path) -> None:
    """An upright and a landscape photo: the mapping of each, by what the end of the video shows of it."""
    photos = {A: FRAMES[0], B: np.ascontiguousarray(np.rot90(FRAMES[-1]))}
    bench = Bench(tmp_path, photos=photos, fit=fit, video_frames=33)
    bench.models[0].largest = 320
    dense = dataclasses.replace(bench.context, bridging=dataclasses.replace(bench.context.bridging, frames_per_clip=31))
    bench.generator = GeneratedClips("crossfade", lambda _: bench.models[0], ["cpu"], dense, bench.prompts)
    clip = bench.clip()
    assert clip.frame_from_a.scale[0] == clip.frame_from_a.scale[1]
    assert clip.frame_from_a.scale != clip.frame_from_b.scale
    for name, mapping, frame in ((A, clip.frame_from_a, clip.frames[0]), (B, clip.frame_from_b, clip.frames[-1])):
        assert _shown_difference(photos[name], mapping, frame) < 12
    if fit is Fit.LETTERBOX:
        assert min(clip.frames[0].mean(axis=(0, 2)).min(), clip.frames[0].mean(axis=(1, 2)).min()) > 10, "bars are left"


def _shown_difference(photo: np.ndarray, mapping: object, frame: np.ndarray) -> float:
    """Mean difference of a frame and the photo that it should show, at the nearest pixels."""
    height_px, width_px = frame.shape[:2]
    x, y = np.meshgrid(np.arange(width_px) + 0.5, np.arange(height_px) + 0.5)
    in_x = np.floor((x - mapping.offset_px[0]) / mapping.scale[0]).astype(int)  # type: ignore[attr-defined]
    in_y = np.floor((y - mapping.offset_px[1]) / mapping.scale[1]).astype(int)  # type: ignore[attr-defined]
    inside = (in_x >= 0) & (in_x < photo.shape[1]) & (in_y >= 0) & (in_y < photo.shape[0])
    assert inside.mean() > 0.3
    return float(np.abs(photo[in_y[inside], in_x[inside]].astype(float) - frame[inside]).mean())


def test_the_folder_serves_as_clips_with_the_same_mapping(tmp_path: Path) -> None:
    bench = Bench(tmp_path, fit=Fit.LETTERBOX)
    generated = [bench.clip(index) for index in range(2)]
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    on_disk = bench.on_disk(moved)
    assert on_disk.num_clips(PAIR) == 2
    for index, clip in enumerate(generated):
        read = check_clip(on_disk.generate(PAIR, REQUESTS[index]), PAIR)
        assert read == dataclasses.replace(clip, generator="clips", frames=read.frames)
        for x, y in zip(read.frames, clip.frames, strict=True):
            np.testing.assert_array_equal(x, y)


def test_without_its_record_a_clip_is_registered(tmp_path: Path) -> None:
    bench = Bench(tmp_path, video_frames=33)
    bench.models[0].largest = 320
    generated = bench.clip()
    (tmp_path / "a__b_0.json").write_text("{")
    read = bench.on_disk(tmp_path).generate(PAIR, REQUESTS[0])
    assert read.status is ClipStatus.OK, read.detail
    assert "correlate" in read.detail
    np.testing.assert_allclose(read.frame_from_a.scale, generated.frame_from_a.scale, rtol=0.01)
    np.testing.assert_allclose(read.frame_from_a.offset_px, generated.frame_from_a.offset_px, atol=1)


def test_the_record_says_how_a_clip_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFADE_SLEEP_S", "0.05")
    bench = Bench(tmp_path)
    bench.clip(1)
    record = json.loads((tmp_path / "a__b_1_ba.json").read_text())
    task = bench.tasks[0]
    assert record["settings"] == {"model": "crossfade", "steps": 1}
    assert (record["generator"], record["revision"]) == ("crossfade", "r7")
    assert (record["prompt"], record["negative_prompt"], record["seed"]) == (task.prompt, "people", task.seed)
    assert record["backwards"] is True
    assert (record["a"]["name"], record["b"]["name"]) == (A, B)
    assert record["asked"] == record["got"] == dataclasses.asdict(task.format)
    assert 0.05 <= record["time_s"] < 5
    assert bench.generator.expected(bench.generator.plan(PAIR, REQUESTS[0])).time_s == record["time_s"]


class Service(CrossFade):
    """Sends files, in a size of its own."""

    def make(self, task: ClipTask, journal: TaskJournal) -> MadeVideo:
        video = super().make(task, journal)
        width_px, height_px = self.sent_px(task)
        frames = [np.asarray(_resized(frame, width_px, height_px)) for frame in video.frames]
        return MadeVideo(file=encode_mp4(frames, 8.0), revision="v1")

    def sent_px(self, task: ClipTask) -> tuple[int, int]:
        return task.format.width_px * 2, task.format.height_px * 2


class Cropping(Service):
    def sent_px(self, task: ClipTask) -> tuple[int, int]:
        return task.format.width_px * 2, task.format.height_px


def _resized(frame: np.ndarray, width_px: int, height_px: int) -> object:
    from PIL import Image

    return Image.fromarray(frame).resize((width_px, height_px), Image.Resampling.BICUBIC)


def test_a_video_of_twice_the_size_has_twice_the_scale(tmp_path: Path) -> None:
    plain, twice = Bench(tmp_path / "x").clip(), Bench(tmp_path / "y", model=Service).clip()
    assert twice.frames[0].shape[0] == 2 * plain.frames[0].shape[0]
    np.testing.assert_allclose(twice.frame_from_a.scale, np.multiply(plain.frame_from_a.scale, 2))
    np.testing.assert_allclose(twice.frame_from_a.offset_px, np.multiply(plain.frame_from_a.offset_px, 2))


def test_a_video_of_another_shape_is_registered(tmp_path: Path) -> None:
    clip = Bench(tmp_path, model=Cropping).clip()
    assert json.loads((tmp_path / "a__b_0.json").read_text())["a"]["frame_from_photo"] is None
    assert "correlate" in clip.detail


# ---------------------------------------------------------------- nothing twice


def test_a_second_run_makes_nothing(tmp_path: Path) -> None:
    Bench(tmp_path).prepare()
    again = Bench(tmp_path)
    again.prepare()
    assert [again.clip(index).status for index in range(4)] == [ClipStatus.OK] * 4
    assert not again.tasks
    assert not again.models[0].num_closed, "nothing was loaded"
    other = Bench(tmp_path, video_steps=5)
    other.prepare(1)
    assert len(other.tasks) == 1
    assert len(list(tmp_path.glob("*.mp4"))) == 5
    assert other.clip().name == "a__b_4.mp4"


def test_a_file_that_was_altered_is_made_anew_beside_it(tmp_path: Path) -> None:
    Bench(tmp_path).prepare(1)
    (tmp_path / "a__b_0.mp4").write_bytes(b"cut off")
    again = Bench(tmp_path)
    assert again.clip().status is ClipStatus.OK
    assert len(again.tasks) == 1
    assert (tmp_path / "a__b_0.mp4").read_bytes() == b"cut off"


def test_memory_is_freed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.prepare(2)
    assert [(model.num_closed, model.is_loaded) for model in bench.models] == [(1, False)]
    assert bench.prompts.num_closed == 1


def test_two_runs_exclude_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interpose_sfm.video_models.clip_store._CLEANING_S", 0.1)
    bench = Bench(tmp_path)
    with bench.generator.store.locked(), pytest.raises(WorkspaceBusyError):
        Bench(tmp_path).prepare(1)


def test_no_folder_is_said() -> None:
    with pytest.raises(ValueError, match="clip_store"):
        GeneratedClips(
            "x", lambda _: CrossFade("x", GenerationOptions()), ["cpu"], generation_context({}), TwoPrompts()
        )


# ---------------------------------------------------------------- failures


def test_a_failure_is_a_status_and_is_tried_again_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSFADE_FAIL", "long")
    bench = Bench(tmp_path)
    bench.prepare()
    clips = [bench.clip(index) for index in range(4)]
    assert [clip.status for clip in clips] == [ClipStatus.OK, ClipStatus.OK] + 2 * [ClipStatus.GENERATION_FAILED]
    assert clips[2].detail == "it shows nothing"
    assert len(bench.tasks) == 4, "a run tries once"
    monkeypatch.delenv("CROSSFADE_FAIL")
    again = Bench(tmp_path)
    again.prepare()
    assert [task.prompt for task in again.tasks] == ["a long description of the scene"] * 2


class OtherDisk(LocalEngine):
    """An engine whose workers see none of this machine's folders, as on a cluster without a shared disk."""

    shares_memory = False

    def map(  # type: ignore[override]
        self, make_worker: object, jobs: Sequence[ClipPlan], *, gpus: float = 0.0, cpus: float = 1.0
    ) -> Generator[Done[ClipPlan, Making], None, None]:
        yield from (Done(job, Making()) for job in jobs)


def test_clips_that_workers_leave_on_a_disk_of_their_own_are_failures(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    remote = dataclasses.replace(bench.context, engine=OtherDisk(), image_dir=tmp_path)
    generator = GeneratedClips("crossfade", lambda _: bench.models[0], ["cpu"], remote, bench.prompts)
    clip = generator.generate(PAIR, REQUESTS[1])
    assert clip.status is ClipStatus.GENERATION_FAILED
    assert "all machines must see" in clip.detail


def test_a_refusal_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFADE_FAIL", "!long")
    assert Bench(tmp_path).clip(2).status is ClipStatus.REFUSED
    monkeypatch.delenv("CROSSFADE_FAIL")
    again = Bench(tmp_path)
    clip = again.clip(2)
    assert clip.status is ClipStatus.REFUSED
    assert "it shows nothing" in clip.detail
    assert not again.tasks
    next((tmp_path / "tasks").glob("*.json")).unlink()
    assert Bench(tmp_path).clip(2).status is ClipStatus.OK


class Broken(CrossFade):
    def make(self, task: ClipTask, journal: TaskJournal) -> MadeVideo:
        super().make(task, journal)
        return MadeVideo(file=b"<html>")


def test_what_is_no_video_is_a_failure(tmp_path: Path) -> None:
    clip = Bench(tmp_path, model=Broken).clip()
    assert clip.status is ClipStatus.GENERATION_FAILED
    assert "no video" in clip.detail
    assert not list(tmp_path.glob("*.mp4"))


class Penniless(CrossFade):
    def make(self, task: ClipTask, journal: TaskJournal) -> MadeVideo:
        super().make(task, journal)
        raise ValueError("set CROSSFADE_KEY")


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu")])
def test_what_the_user_must_mend_ends_the_run(devices: Sequence[str], tmp_path: Path) -> None:
    bench = Bench(tmp_path, devices, model=Penniless)
    with pytest.raises(ValueError, match="CROSSFADE_KEY"):
        bench.prepare()
    assert all(model.num_closed == 1 for model in bench.models)
    with bench.generator.store.locked():
        pass


# ---------------------------------------------------------------- workers


def test_every_device_has_a_worker_and_every_clip_one_maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFADE_SLEEP_S", "0.1")
    bench = Bench(tmp_path, ("cpu:0", "cpu:1"))
    bench.prepare(8)
    assert all(len(model.tasks) >= 2 for model in bench.models)
    assert len({task.key for task in bench.tasks}) == len(bench.tasks) == 8
    assert [told[1] for told in bench.told] == list(range(1, 9))
    assert len(list(tmp_path.glob("*.mp4"))) == 8
    again = Bench(tmp_path)
    again.prepare(8)
    assert not again.tasks


def test_clips_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    for folder, devices in (("one", ["cpu"]), ("two", ["cpu", "cpu"])):
        Bench(tmp_path / folder, devices).prepare()
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).glob("*.mp4")} for name in ("one", "two"))
    assert one == two


def test_devices() -> None:
    assert worker_devices("cpu") == ("cpu",)
    assert worker_devices("cuda:0, cuda:1,cuda:1") == ("cuda:0", "cuda:1", "cuda:1")
    assert worker_devices("auto")
    for wrong in ("", "gpu", "cuda:0,auto", "cpu,"):
        with pytest.raises(ValueError, match="video-device"):
            worker_devices(wrong)


# ---------------------------------------------------------------- money


@pytest.fixture
def price(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setenv("CROSSFADE_USD", "0.25")
    return 0.25


@pytest.mark.usefixtures("price")
@pytest.mark.parametrize(("limit", "said"), [(None, "--max-cost 1.00"), (0.99, "allows $0.99")])
def test_nothing_is_spent_before_all_can_be_paid(limit: float | None, said: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_cost=limit)
    with pytest.raises(BudgetError, match=r"4 clips .* \$1\.00 \(a price list of 2026\)") as caught:
        bench.prepare()
    assert said in str(caught.value)
    assert "--max-cost 1.00" in str(caught.value)
    assert not bench.tasks


@pytest.mark.usefixtures("price")
def test_what_the_store_has_cost_counts(tmp_path: Path) -> None:
    Bench(tmp_path, max_cost=1.0).prepare()
    Bench(tmp_path).prepare()  # nothing is missing, so nothing has to be allowed
    with pytest.raises(BudgetError, match=r"\$1\.00 were spent .*--max-cost 1\.50"):
        Bench(tmp_path, max_cost=1.25).prepare(6)
    Bench(tmp_path, max_cost=1.5).prepare(6)
    assert len(list(tmp_path.glob("*.mp4"))) == 6


class Dearer(CrossFade):
    """Costs more than it says."""

    def make(self, task: ClipTask, journal: TaskJournal) -> MadeVideo:
        return dataclasses.replace(super().make(task, journal), cost_usd=0.6)


@pytest.mark.usefixtures("price")
def test_a_service_that_charges_more_is_stopped_at_the_limit(tmp_path: Path) -> None:
    bench = Bench(tmp_path, model=Dearer, max_cost=1.3)
    bench.prepare()
    assert len(bench.tasks) == 2
    clip = bench.clip(3)
    assert clip.status is ClipStatus.GENERATION_FAILED
    assert "--max-cost" in clip.detail


class Killed(CrossFade):
    def make(self, task: ClipTask, journal: TaskJournal) -> MadeVideo:
        super().make(task, journal)
        raise KeyboardInterrupt


@pytest.mark.usefixtures("price")
def test_a_clip_that_was_asked_for_is_fetched_and_not_paid_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Bench(tmp_path, model=Killed, max_cost=0.25).prepare(1)
    bench = Bench(tmp_path)
    assert bench.generator.store.spent_usd() == 0.25
    bench.prepare(1)
    assert len(bench.tasks) == 1
    assert bench.generator.store.spent_usd() == 0.25
    with pytest.raises(BudgetError, match="1 clips"):
        Bench(tmp_path, max_cost=0.25).prepare(2)


def test_a_wrong_request_of_a_hosted_model_asks_nobody(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ("", ""), model=crossfade.Hosted)
    assert bench.generator.num_workers == 2
    clip = check_clip(bench.generator.generate(PAIR, ClipRequest(-1, False, 0)), PAIR)
    assert clip.status is ClipStatus.NO_CLIP
    assert made(tmp_path / "log") == []
    assert GenerationError("x").is_final is False
