"""A clip from a service, paid for once.

A service makes a clip in a task: it is created, which costs money, then asked for until it is finished, then the file
is fetched. The journal of the clip is written before and after the creation, so that a killed run picks the task up:

    state     what is known                                  what `make` does with it
    (empty)   nothing was asked for                          creates a task
    creating  a request was sent, its answer never arrived   looks the task up, or refuses where the service has no list
    created   the task, by its id                            waits for it and fetches the file
    charged   the task failed, and was charged all the same  says so again

The SDKs repeat requests whose answer was lost, and neither sends a key by which the service could tell such a
repetition (their ``_idempotency_header`` is None), so their own retries are switched off.
"""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from importlib import metadata
from threading import Lock
from types import ModuleType
from typing import Any, ClassVar, TypeVar

from interpose_sfm.options import GenerationOptions
from interpose_sfm.products import ClipFormat, Settings
from interpose_sfm.video_models.hosted import calls
from interpose_sfm.video_models.hosted.calls import ServiceError, Trouble, call, key_from_environment, without
from interpose_sfm.video_models.hosted.catalogue import HostedSpec, chosen_spec
from interpose_sfm.video_models.hosted.clock import Clock
from interpose_sfm.video_models.hosted.download import DownloadError, fetch_video, whole_video
from interpose_sfm.video_models.hosted.reports import TaskReport, TaskState
from interpose_sfm.video_models.prompts import shortened
from interpose_sfm.video_models.protocol import (
    ClipEstimate,
    ClipTask,
    GenerationError,
    MadeVideo,
    TaskJournal,
    VideoModel,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_ATTEMPTS = 8
MAX_DOWNLOADS = 4
# Longer waits that a service asks for, as at the end of a daily quota, are for the next run.
_LONGEST_PATIENCE_S = 600.0
# Runway wants no task to be asked for more often than every five seconds.
_FIRST_POLL_S = 5.0
_LONGEST_POLL_S = 30.0
_POLL_GROWTH = 1.2
_TASK_TIMEOUT_S = 1800.0


class HostedModel(VideoModel):
    """What the services share; safe to use from several threads."""

    runs_here: ClassVar[bool] = False
    parallel_clips: ClassVar[int] = 4  # the clips of one pair; both services queue what exceeds an account's limit
    service: ClassVar[str]
    key_variable: ClassVar[str]
    key_page: ClassVar[str]
    sdk_name: ClassVar[str]
    max_answer_bytes: ClassVar[int] = 0  # for what `calls` has
    models: ClassVar[Mapping[str, HostedSpec]]

    def __init__(self, name: str, options: GenerationOptions, device: str = "", *, clock: Clock | None = None) -> None:
        """Choose the model; asks nobody.

        Args:
            name: The service, or the service and one of its models, as in ``runway:veo3.1``.
            options: Size, length, and what may be spent.
            device: Not used.
            clock: Other sources of time and chance, for tests.

        Raises:
            ValueError: Unknown model, or one whose price is not known and not given.
        """
        self.name = name
        self._spec = chosen_spec(name, self.models)
        self._options = options
        self._clock = clock or Clock()
        self._lock = Lock()
        self._client: Any = None
        self._key = ""
        self.settings: Settings = {"service": self.service, "model": self._spec.model, **self._spec.extras}
        self._price_usd(self.format_for((4, 3)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @classmethod
    def terms(cls, name: str) -> str:
        """See `Backend`."""
        return f"a paid service, on the terms of {cls.service}, which spends nothing without --max-cost"

    @classmethod
    def probe(cls) -> str:
        """See whether there is a key, without asking the service whether it is a good one; for the doctor.

        Raises:
            ValueError: There is none.
        """
        key_from_environment(cls.key_variable, cls.key_page)
        return f"{cls.sdk_name} {metadata.version(cls.sdk_name)}, a key is in {cls.key_variable}"

    def format_for(self, photo_size_px: tuple[int, int]) -> ClipFormat:
        """The size of the nearest shape that the model makes, and the shortest length unless the options want another.

        The number of frames is that of the length; services send one more or less.
        """
        width_px, height_px = self._spec.nearest_size(photo_size_px, self._options.video_long_side_px)
        num_frames = round(self._spec.nearest_duration_s(self._options.video_frames) * self._spec.fps)
        return ClipFormat(width_px=width_px, height_px=height_px, num_frames=num_frames, fps=self._spec.fps)

    def estimate(self, clip_format: ClipFormat) -> ClipEstimate:
        """The price of a clip; how long the service takes is not known."""
        given = self._options.clip_price is not None
        basis = "the price that was given" if given else self._spec.price_basis
        return ClipEstimate(cost_usd=self._price_usd(clip_format), basis=basis)

    def make(self, task: ClipTask, journal: TaskJournal) -> MadeVideo:
        """Make a clip, or go on with one that an earlier run has paid for.

        Raises:
            GenerationError: There is no clip; the message says why, and what was or may have been paid.
            ValueError: The key, the account, or what may be spent is for the user to mend.
        """
        is_made = False
        try:
            made = self._made(task, journal)
            is_made = True
        finally:
            if is_made or journal.read().get("state") not in ("creating", "created"):
                self.tidy(task)
        return made

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client, self._key = None, ""

    # ------------------------------------------------------------ what each service does in its own way

    @abstractmethod
    def build_client(self, sdk: ModuleType, key: str, http_client: Any) -> Any:
        """The SDK's client, which sends every request once, by the client for httpx."""

    @abstractmethod
    def prepare(self, task: ClipTask) -> dict[str, Any]:
        """Bring the pictures to where the service can see them, and say with which parameters a task is asked for."""

    @abstractmethod
    def create(self, parameters: Mapping[str, Any]) -> Any:
        """Ask for a task; the answer has its ``id``. This is what costs money."""

    @abstractmethod
    def retrieve(self, task_id: str) -> TaskReport:
        """Ask how far a task is."""

    def find(self, task: ClipTask) -> str | None:
        """The id of the task that was created for a clip, empty if there is none; None if the service has no list."""
        return None

    def charge_usd(self, answer: Any) -> float | None:
        """What an answer about a task says that it costs; None where it says nothing."""
        return None

    def tidy(self, task: ClipTask) -> None:
        """Take back what `prepare` has put somewhere."""

    # ------------------------------------------------------------ the same for all

    def _made(self, task: ClipTask, journal: TaskJournal) -> MadeVideo:
        notes = journal.read()
        if notes.get("state") == "charged":
            raise GenerationError(notes.get("message", ""), is_final=True)
        self._connect()
        task_id = calls.task_id(notes.get("task", "")) if notes.get("state") == "created" else ""
        if notes.get("state") == "creating":
            task_id = self._recovered(task, notes.get("since", "?"), journal)
        if not task_id:
            task_id = self._created(task, journal)
        try:
            report = self._finished(task_id, journal)
        except ServiceError as error:
            failure = error
        else:
            cost_usd = self._price_usd(task.format) if report.cost_usd is None else report.cost_usd
            return MadeVideo(file=self._downloaded(report, task_id), cost_usd=cost_usd, revision=self._spec.model)
        if failure.trouble is Trouble.MISSING and self._options.repeat_lost:
            logger.warning("%s no longer knows the task %s; it is made again", self.service, task_id)
            journal.write({})
            return self._made(task, journal)
        raise self._failure(failure, f"task {task_id} was paid for, but cannot be asked for")

    @property
    def client(self) -> Any:
        """The SDK's client."""
        assert self._client is not None
        return self._client

    def ask(self, function: Callable[[], T]) -> T:
        """Run a call that may be repeated, until it is answered.

        Raises:
            ServiceError: It was refused, or not answered in spite of all patience.
        """
        for attempt in range(MAX_ATTEMPTS):
            try:
                return call(self._sdk(), self._key, function)
            except ServiceError as error:
                if not self._is_passing(error, attempt):
                    raise
                logger.info("%s: %s; asking again", self.service, error)
                self._clock.back_off(attempt, error.retry_after_s)
        raise AssertionError("unreachable")

    def prompt(self, task: ClipTask) -> str:
        """The prompt, cut to what the model takes."""
        short = shortened(task.prompt, self._spec.max_prompt)
        if short != task.prompt:
            limit = self._spec.max_prompt
            logger.warning("%s takes prompts of up to %d characters; cut after %r", self.name, limit, short[-40:])
        return short

    def duration_s(self, clip_format: ClipFormat) -> int:
        """Length of a clip of this format."""
        return round(clip_format.num_frames / clip_format.fps)

    def _sdk(self) -> ModuleType:
        from importlib import import_module

        return import_module(self.sdk_name)

    def _connect(self) -> None:
        with self._lock:
            if self._client is None:
                sdk, key = self._sdk(), key_from_environment(self.key_variable, self.key_page)
                http_client = calls.http_client(sdk)
                client = self.build_client(sdk, key, http_client)
                calls.bound(http_client, str(client.base_url), self.max_answer_bytes)
                self._key, self._client = key, client

    def _price_usd(self, clip_format: ClipFormat) -> float:
        price = self._options.clip_price
        if price is None:
            price = self._spec.price_usd((clip_format.width_px, clip_format.height_px), self.duration_s(clip_format))
        if price is None:
            raise ValueError(
                f"{self.name}: the price of {self._spec.model} is not known to this package; look it up at "
                f"{self.service} and give the price of one clip in dollars with --clip-price"
            )
        return price

    def _created(self, task: ClipTask, journal: TaskJournal) -> str:
        """Ask for a task until the service has taken it on, and return its id."""
        self._allow(task.format)
        try:
            parameters = self.prepare(task)
        except ServiceError as error:
            raise self._failure(error, "no task was created") from None
        for attempt in range(MAX_ATTEMPTS):
            since = datetime.now(timezone.utc).isoformat(timespec="seconds")
            journal.write({"state": "creating", "service": self.service, "since": since})
            try:
                answer = call(self._sdk(), self._key, lambda: _with_id(self.create(parameters)))
            except ServiceError as error:
                failure = error
            else:
                task_id = calls.task_id(answer.id)
                self._note_created(task_id, journal)
                self._compare_cost(answer, task.format)
                return task_id
            if failure.trouble is Trouble.UNCLEAR:
                logger.warning("%s: a clip was asked for, but %s", self.service, failure)
                task_id = self._recovered(task, since, journal)
                if task_id:
                    return task_id
            else:
                journal.write({})
            if not self._is_passing(failure, attempt):
                raise self._failure(failure, "no task was created", is_final=failure.trouble is Trouble.REJECTED)
            logger.info("%s: %s; asking again", self.service, failure)
            self._clock.back_off(attempt, failure.retry_after_s)
        raise AssertionError("unreachable")

    def _allow(self, clip_format: ClipFormat) -> None:
        """Refuse to spend what was not allowed: whoever drives the model counts clips, this counts one."""
        price, limit = self._price_usd(clip_format), self._options.max_cost
        if price > (limit or 0.0):
            may = "nothing" if limit is None else f"${limit:.2f}"
            raise ValueError(f"{self.name}: a clip costs ${price:.2f} and {may} may be spent; allow it with --max-cost")

    def _compare_cost(self, answer: Any, clip_format: ClipFormat) -> None:
        """Warn where the service charges more than the price list says."""
        usd, price = self.charge_usd(answer), self._price_usd(clip_format)
        if usd is not None and usd > 1.01 * price:
            logger.warning("%s charges up to $%.2f for a clip, expected were $%.2f", self.name, usd, price)

    @staticmethod
    def _is_passing(error: ServiceError, attempt: int) -> bool:
        """Whether to ask again."""
        is_passing = error.trouble in (Trouble.BUSY, Trouble.UNCLEAR)
        return is_passing and attempt < MAX_ATTEMPTS - 1 and error.retry_after_s <= _LONGEST_PATIENCE_S

    def _note_created(self, task_id: str, journal: TaskJournal) -> None:
        journal.write({"state": "created", "service": self.service, "model": self._spec.model, "task": task_id})
        logger.info("%s: task %s", self.name, task_id)

    def _recovered(self, task: ClipTask, since: str, journal: TaskJournal) -> str:
        """The id of a task whose creation was not answered; empty if there is none, or if it shall be repeated."""
        try:
            task_id = self.find(task)
        except ServiceError as error:
            raise self._failure(error, f"it is not known whether the request of {since} was taken on") from None
        if task_id:
            self._note_created(task_id, journal)
            return task_id
        if task_id is None and not self._options.repeat_lost:
            raise GenerationError(
                f"{self.service} was asked for this clip at {since} and the answer was lost; it has no list of tasks, "
                f"so the clip may have been paid for already. See the usage at {self.key_page}, and make it again with "
                f"--repeat-lost"
            )
        journal.write({})
        return ""

    def _finished(self, task_id: str, journal: TaskJournal) -> TaskReport:
        """Wait until a task has succeeded.

        Raises:
            GenerationError: It failed, or runs for too long; in the second case the next run goes on with it.
            ServiceError: It cannot be asked for.
        """
        end_s, poll_s = self._clock.now_s() + _TASK_TIMEOUT_S, _FIRST_POLL_S
        while True:
            report = self.ask(lambda: self.retrieve(task_id))
            if report.state is TaskState.SUCCEEDED:
                return report
            if report.state is TaskState.FAILED:
                raise self._failed(report, journal)
            if self._clock.now_s() >= end_s:
                minutes = math.ceil(_TASK_TIMEOUT_S / 60)
                raise GenerationError(
                    f"{self.service}: task {task_id} is not finished after {minutes} minutes; the next run goes on"
                )
            self._clock.pause(poll_s)
            poll_s = min(_LONGEST_POLL_S, _POLL_GROWTH * poll_s)

    def _failed(self, report: TaskReport, journal: TaskJournal) -> GenerationError:
        was_charged = (report.cost_usd or 0.0) > 0.0
        message = f"{self.service}: {without(self._key, report.message) or 'the task failed'}"
        if was_charged:
            message += f" (${report.cost_usd:.2f} were charged)"
        journal.write({"state": "charged", "service": self.service, "message": message} if was_charged else {})
        return GenerationError(message, is_final=report.is_refusal or was_charged)

    def _downloaded(self, report: TaskReport, task_id: str) -> bytes:
        """Fetch the file of a finished task; addresses expire, so each attempt asks the service for a fresh one."""
        message = ""
        for attempt in range(MAX_DOWNLOADS):
            try:
                if report.file:
                    return whole_video(report.file)
                return fetch_video(report.url, str(self.client.base_url))
            except DownloadError as error:
                message = str(error)
                logger.warning("%s: task %s: %s", self.service, task_id, error)
            if attempt < MAX_DOWNLOADS - 1:
                self._clock.back_off(attempt)
                try:
                    report = self.ask(lambda: self.retrieve(task_id))
                except ServiceError as error:
                    raise self._failure(error, f"task {task_id} is finished, but cannot be asked for") from None
        raise GenerationError(
            f"{self.service}: task {task_id} is finished, but its file does not arrive: {message}; the next run "
            f"fetches it without paying again"
        )

    def _failure(self, error: ServiceError, consequence: str, *, is_final: bool = False) -> Exception:
        """The exception for the caller of `make`."""
        if error.trouble is Trouble.DENIED:
            return ValueError(
                f"{self.service} does not accept the key in {self.key_variable}: {error}; {consequence} (keys: "
                f"{self.key_page})"
            )
        if error.trouble is Trouble.UNPAID:
            return ValueError(f"{self.service} wants to be paid first: {error}; {consequence} ({self.key_page})")
        return GenerationError(f"{self.service}: {error}; {consequence}", is_final=is_final)


def _with_id(answer: Any) -> Any:
    """The answer to a creation, with the id of the task in it."""
    calls.task_id(answer.id)
    return answer
