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
class Outcome:
    """What came of one picture, and how; `probabilities` in the order of the class list."""

    probabilities: tuple[float, ...]
    format: str
    width_px: int
    height_px: int
    notes: tuple[tuple[str, str], ...]
    timings_ms: dict[str, float]


@dataclass(eq=False)
class Ticket:
    """One picture that waits for its prediction, which will be in `future`."""

    data: bytes
    name: str
    future: Future[Outcome] = field(default_factory=Future)
    queued_at: float = field(default_factory=time.perf_counter)
    abandoned: bool = False
    """Set when nobody wants the answer any more; looked at again before inference."""


class Line:
    """Tickets in the order they came. Who would wait too long is refused at once."""

    def __init__(self, limits: ServeLimits) -> None:
        self._limits = limits
        self._tickets: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self._mean_s = 0.0

    def __len__(self) -> int:
        return len(self._tickets)

    def check_room(self) -> None:
        """Raise the `Refusal` (429) that `put` would raise now."""
        waiting = len(self._tickets)
        if waiting >= self._limits.queue or waiting * self._mean_s > self._limits.max_wait_s:
            raise busy(self.retry_after_s())

    def put(self, ticket: Ticket) -> None:
        """Join the line. Raises `Refusal` (429)."""
        with self._changed:
            self.check_room()
            self._tickets.append(ticket)
            self._changed.notify()

    def take(self, timeout_s: float) -> Ticket | None:
        """The next ticket, or None after `timeout_s` without one."""
        with self._changed:
            if not self._tickets:
                self._changed.wait(timeout_s)
            return self._tickets.popleft() if self._tickets else None

    def cancel(self, ticket: Ticket) -> bool:
        """Nobody waits for the answer any more: the ticket leaves the line, or is dropped before
        inference when the worker has it already. Whether it was still in line.
        """
        ticket.abandoned = True
        ticket.future.cancel()
        with self._changed:
            if ticket not in self._tickets:
                return False
            self._tickets.remove(ticket)
            return True

    def refuse_all(self, refusal: Refusal) -> None:
        """Answer everybody who waits."""
        with self._changed:
            tickets, self._tickets = list(self._tickets), deque()
        for ticket in tickets:
            if ticket.future.set_running_or_notify_cancel():
                ticket.future.set_exception(refusal)

    def note_duration(self, seconds: float) -> None:
        """Learn from a request that is done."""
        old = self._mean_s or seconds
        self._mean_s = old + _WEIGHT_OF_NEWEST * (seconds - old)

    def retry_after_s(self) -> int:
        """Whole seconds after which the line should be short again, from 1 to a minute."""
        return max(1, min(_LONGEST_HINT_S, math.ceil(len(self._tickets) * self._mean_s)))
