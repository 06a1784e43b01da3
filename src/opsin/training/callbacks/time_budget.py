"""Stop when the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from opsin.core.words import duration
from opsin.training.callback import Answer, Ask, Callback
from opsin.training.callbacks.patient import Say, silent
from opsin.training.events import BatchEnd, EpochEnd, TrainStart


class TimeBudget(Callback):
    """Asks to stop once a training has taken `seconds`, that of the run's earlier processes up to
    the checkpoint they left included: the epoch ends where it is, is validated and recorded.

    Of what it changes only the place depends on the clock: up to there the bits are those of a
    run without it.
    """

    def __init__(
        self, seconds: float, say: Say = silent, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds = seconds
        self._say = say
        self._clock = clock
        self._before = 0.0
        self._since = clock()
        self._said = False

    def state(self) -> dict[str, Any]:
        """The time taken so far."""
        return {"seconds": self._used()}

    def load(self, state: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        """Count it."""
        self._before = state["seconds"]

    def on_train_start(self, start: TrainStart) -> None:
        """The clock runs from here."""
        self._since = self._clock()

    def on_batch_end(self, end: BatchEnd) -> Answer:
        """Stop in the middle of an epoch."""
        return self._ask(f"in epoch {end.epoch}, after step {end.step} of {end.steps}")

    def on_epoch_end(self, end: EpochEnd) -> Answer:
        """Stop after an epoch whose validation used the time up."""
        return self._ask(f"after epoch {end.record.epoch}")

    def _used(self) -> float:
        return self._before + self._clock() - self._since

    def _ask(self, where: str) -> Answer:
        if self._used() < self.seconds:
            return None
        if not self._said:
            self._say(f"the time of {duration(self.seconds)} is over: training stops {where}")
        self._said = True
        return Ask.STOP
