"""`Stage`: a stretch of epochs in which the same parameters learn by the same rules."""

from __future__ import annotations

from dataclasses import dataclass

from opsin.core.batch import EpochLoader
from opsin.core.errors import DataRefused
from opsin.training.schedules import Schedule, constant
from opsin.training.step import Step


@dataclass(frozen=True)
class Stage:
    """`step` learns from the batches of `train` and judges those of `val`; `lr` is the peak of
    `schedule`. `most`: the epochs it was made for, where fewer are planned (0: `epochs`).
    """

    name: str
    epochs: int
    lr: float
    train: EpochLoader
    val: EpochLoader
    step: Step
    schedule: Schedule = constant
    most: int = 0

    def rate(self, epoch_in_stage: int, step: int, steps: int) -> float:
        """The learning rate of step `step` of `steps` in an epoch; all count from 1."""
        done = (epoch_in_stage - 1) * steps + step - 1
        return self.lr * self.schedule(done / (self.epochs * steps))


def refuse_short(epoch: int, given: int, promised: int) -> None:
    """Raise `DataRefused` for a loader that gave fewer batches in `epoch` than its plan says."""
    if given < promised:
        raise DataRefused(
            f"the loader gave {given} of {promised} batches in epoch {epoch}",
            code="loader_ended",
            fix="let its length say how many batches it gives",
        )
