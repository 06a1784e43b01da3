"""Plan fewer epochs where the time asks for it, and stop when it is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch

from opsin.core.words import duration, plural
from opsin.training.callback import Answer, Ask, Callback, Epochs
from opsin.training.callbacks.patient import Say, silent
from opsin.training.events import (
    BatchEnd,
    EpochEnd,
    EpochStart,
    TrainStart,
    ValidationEnd,
    ValidationStart,
)

RECENT = 9
"""So many epochs tell how long the next one takes."""
NOISE_FRAC = 0.05
"""Another plan is made where it differs by more than this share of the epochs that are left."""


class TimeBudget(Callback):
    """Ends a training within `seconds`, those of the run's earlier processes up to the checkpoint
    they left included. Each stage gets its share of the time that is left, by its epochs; where
    that holds fewer than it has, it asks for as many as fit, so that the schedule of the rate comes
    to its end. The first plan is made by `epoch_s`, a forecast, if there is one; later ones by the
    epochs measured, fewer or more, where the difference is more than noise. Where even one epoch is
    too long, it stops inside it, early enough for the validation.

    Only what the clock says decides; the plan is part of the checkpoint. Where the time suffices,
    the bits are those of a run without it.
    """

    def __init__(
        self,
        seconds: float,
        say: Say = silent,
        *,
        epoch_s: float | None = None,
        validation_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = seconds
        self._epoch_s = epoch_s
        self._say = say
        self._clock = clock
        self._before = 0.0
        self._since = clock()
        self._said = False
        self._stage = ""
        self._planned: int | None = None
        self._asked = 0
        self._marks = [0.0, 0.0, 0.0]  # when the epoch began, its first step ended, its last did
        self._steps = 0
        self._until = seconds
        self._took: list[float] = []
        self._validation_s = validation_s
        self._validating = 0.0

    def state(self) -> dict[str, Any]:
        """The time taken so far, and the plan."""
        return {
            "seconds": self._used(),
            "stage": self._stage,
            "planned": self._planned,
            "asked": self._asked,
            "marks": list(self._marks),
            "steps": self._steps,
            "until": self._until,
            "took": list(self._took),
            "validation": self._validation_s,
        }

    def load(self, state: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        """Count it, and go on with the plan."""
        self._before = state["seconds"]
        self._stage = state.get("stage", "")
        self._planned = state.get("planned")
        self._asked = state.get("asked", 0)
        self._marks = list(state.get("marks", self._marks))
        self._steps = state.get("steps", 0)
        self._until = state.get("until", self.seconds)
        self._took = list(state.get("took", []))
        self._validation_s = state.get("validation", 0.0)

    def on_train_start(self, start: TrainStart) -> None:
        """The clock runs from here."""
        self._since = self._clock()

    def on_epoch_start(self, start: EpochStart) -> Answer:
        """What is planned: of a new stage by the forecast, else what was planned before."""
        if start.stage != self._stage:
            self._stage, self._planned, self._took = start.stage, start.in_stage, []
            self._asked = start.in_stage
            self._marks = [self._used()] * 3
            share = start.in_stage / max(1, start.epochs - len(start.history.records))
            self._until = self._used() + (self.seconds - self._used()) * share
            if self._epoch_s is not None:
                self._plan(0, self._epoch_s)
        elif self._planned == self._asked and start.in_stage > self._asked:
            # A run that had time for all its epochs goes on for more.
            self._planned = self._asked = start.in_stage
        return None if self._planned is None else Epochs(self._planned)

    def on_batch_end(self, end: BatchEnd) -> Answer:
        """Stop in the middle of an epoch, while there is time to validate it."""
        self._steps = end.steps
        self._marks[1 if end.step == 1 else 2] = self._used()
        where = f"in epoch {end.epoch}, after step {end.step} of {end.steps}"
        return self._stop(where, self._validation_s)

    def on_validation_start(self, start: ValidationStart) -> None:
        """See how long one takes."""
        self._validating = self._used()

    def on_validation_end(self, end: ValidationEnd) -> None:
        """The longest counts."""
        self._validation_s = max(self._validation_s, self._used() - self._validating)

    def on_epoch_end(self, end: EpochEnd) -> Answer:
        """Plan again; stop after an epoch whose validation used the time up."""
        now = self._used()
        self._took = [*self._took, _epoch_seconds(self._marks, now, self._steps)][-RECENT:]
        self._marks = [now] * 3
        if self._planned is None or self._said:
            return self._stop(f"after epoch {end.record.epoch}", 0.0)
        done = len(end.history.of_stage(self._stage))
        if done < self._planned:
            self._plan(done, median(self._took))
            if self._used() >= self.seconds:
                return self._stop(f"after epoch {end.record.epoch}", 0.0)
        return Epochs(self._planned)

    def _plan(self, done: int, epoch_s: float) -> None:
        """Plan the epochs that fit into the stage's time."""
        if self._planned is None or epoch_s <= 0:
            return
        before = self._planned
        fits = max(0, math.floor((self._until - self._used()) / epoch_s))
        plan = min(self._asked, max(1, done + fits))
        if not done or abs(plan - before) > NOISE_FRAC * (before - done):
            self._planned = plan
        if self._planned != before:
            self._say(
                f"{plural(fits, 'epoch')} of {duration(epoch_s)} fit into what is left of "
                f"{duration(self.seconds)}: {self._planned} in place of {before}"
            )

    def _used(self) -> float:
        return self._before + self._clock() - self._since

    def _stop(self, where: str, needs: float) -> Answer:
        if self._used() + needs < self.seconds:
            return None
        if not self._said:
            self._say(f"the time of {duration(self.seconds)} is over: training stops {where}")
        self._said = True
        return Ask.STOP


def _epoch_seconds(marks: Sequence[float], end: float, steps: int) -> float:
    """What a whole epoch takes, by the steps after its first, which may have waited for features
    to be computed or processes to start.

    >>> _epoch_seconds([0.0, 50.0, 53.0], 54.0, 4)
    5.0
    """
    begun, first, last = marks
    if last <= first:
        return end - begun
    return (last - first) * steps / (steps - 1) + end - last
