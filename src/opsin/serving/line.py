"""The waiting line in front of the worker: bounded, and honest about how long it is."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from opsin.serving.limits import ServeLimits
from opsin.serving.refusal import Refusal, busy

_WEIGHT_OF_NEWEST = 0.2
_LONGEST_HINT_S = 60


@dataclass(frozen=True)
class Prediction:
    """What came of one picture; `probabilities` in the order of the class list."""

    probabilities: tuple[float, ...]
    format: str
    width_px: int
    height_px: int
    notes: tuple[tuple[str, str], ...]
    timings_ms: dict[str, float]


@dataclass(eq=False)
class Job:
    """One picture that waits for its prediction, which will be in `future`."""

    data: bytes
    name: str
    future: Future[Prediction] = field(default_factory=Future)
    queued_at: float = field(default_factory=time.perf_counter)
    abandoned: bool = False
    """Set when nobody wants the answer any more; looked at again before inference."""


class Line:
    """Jobs in the order they came. Who would wait too long is refused at once."""

    def __init__(self, limits: ServeLimits) -> None:
        self._limits = limits
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._mean_s = 0.0

    def __len__(self) -> int:
        return len(self._jobs)

    def check_room(self) -> None:
        """Raise the `Refusal` (429) that `put` would raise now."""
        waiting = len(self._jobs)
        if waiting >= self._limits.queue or waiting * self._mean_s > self._limits.max_wait_s:
            raise busy(self.retry_after_s())

    def put(self, job: Job) -> None:
        """Join the line. Raises `Refusal` (429)."""
        with self._changed:
            self.check_room()
            self._jobs.append(job)
            self._changed.notify()

    def take(self, timeout_s: float) -> Job | None:
        """The next job, or None after `timeout_s` without one."""
        with self._changed:
            if not self._jobs:
                self._changed.wait(timeout_s)
            return self._jobs.popleft() if self._jobs else None

    def cancel(self, job: Job) -> bool:
        """Nobody waits for this job any more: it leaves the line, or is dropped before inference
        when the worker has it already. Whether it was still in line.
        """
        job.abandoned = True
        job.future.cancel()
        with self._changed:
            if job not in self._jobs:
                return False
            self._jobs.remove(job)
            return True

    def refuse_all(self, refusal: Refusal) -> None:
        """Answer everybody who waits."""
        with self._changed:
            jobs, self._jobs = list(self._jobs), deque()
        for job in jobs:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(refusal)

    def note_duration(self, seconds: float) -> None:
        """Learn from a job that is done."""
        old = self._mean_s or seconds
        self._mean_s = old + _WEIGHT_OF_NEWEST * (seconds - old)

    def retry_after_s(self) -> int:
        """Whole seconds after which the line should be short again, from 1 to a minute."""
        return max(1, min(_LONGEST_HINT_S, math.ceil(len(self._jobs) * self._mean_s)))
