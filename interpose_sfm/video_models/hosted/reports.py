"""What a service says of a task, in the words that all of them share."""

from __future__ import annotations

from dataclasses import dataclass

from interpose_sfm._compat import StrEnum


class TaskState(StrEnum):
    """How far a task is."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class TaskReport:
    """What a service says of a task.

    Attributes:
        state: How far it is.
        url: Where the file is, once it succeeded.
        file: The file itself, from a service that sends it along.
        message: Why it failed.
        is_refusal: Whether it failed because the service does not want to show what the pictures or the prompt show.
        cost_usd: What was charged; None where the service does not say.
    """

    state: TaskState
    url: str = ""
    file: bytes = b""
    message: str = ""
    is_refusal: bool = False
    cost_usd: float | None = None
