"""`Callback`: what hangs on the loop, and what it may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch

from opsin.training.events import (
    BatchEnd,
    BatchStart,
    EpochEnd,
    EpochStart,
    Event,
    Failure,
    StageStart,
    TrainEnd,
    TrainStart,
    UpdateStart,
    ValidationEnd,
    ValidationStart,
)


class Ask(Enum):
    """What a callback may ask for by returning it; which events listen stands in `Event`.

    STOP at BATCH_END: the epoch ends here, is validated and recorded, and its stage with it.
    """

    STOP = "stop"
    SAVE = "save"
    SKIP = "skip"


@dataclass(frozen=True)
class Scale:
    """Asks, at EPOCH_START, for `factor` times the rate of the schedule in this epoch."""

    factor: float


@dataclass(frozen=True)
class Epochs:
    """Asks, at EPOCH_START and EPOCH_END, for `planned` epochs of the present stage: at most those
    it was made for, those that are over counted. The schedule of the rate is stretched over so
    many. It is not kept by the loop: a resumed run has the stage's own number until the callback
    answers again.
    """

    planned: int


Answer = Ask | Scale | Epochs | None


class Callback:
    """Override what you need. A method `on_...` that is no event is an error.

    A callback whose answers depend on more than the records it is given keeps its memory in
    `state` and `tensors`: both are written into every checkpoint and come back by `load`, so that
    a resumed run goes on as if nothing had happened.

    >>> class Cheer(Callback):
    ...     def on_epoch_end(self, end: EpochEnd) -> Answer:
    ...         return Ask.STOP if end.record.values["val_accuracy"] > 0.9 else None
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        events = [event.value for event in Event]
        for name in vars(cls):
            if name.startswith("on_") and name not in events:
                raise TypeError(f"{cls.__name__}.{name} is no event; events: {', '.join(events)}")

    def state(self) -> dict[str, Any]:
        """What to keep, as JSON."""
        return {}

    def tensors(self) -> dict[str, torch.Tensor]:
        """What to keep, as tensors."""
        return {}

    def load(self, state: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        """Take back what `state` and `tensors` gave; called before TRAIN_START."""

    def on_train_start(self, start: TrainStart) -> Answer:
        """Before the first stage."""

    def on_stage_start(self, start: StageStart) -> Answer:
        """Before the first step of a stage in this process."""

    def on_epoch_start(self, start: EpochStart) -> Answer:
        """Before the first step of an epoch in this process. `Scale` and `Epochs` are heard."""

    def on_batch_start(self, start: BatchStart) -> Answer:
        """Before a batch is learnt from. `Ask.SKIP` is heard."""

    def on_update_start(self, start: UpdateStart) -> Answer:
        """Between backward and the update."""

    def on_batch_end(self, end: BatchEnd) -> Answer:
        """After each step. `Ask.SAVE` and `Ask.STOP` are heard."""

    def on_validation_start(self, start: ValidationStart) -> Answer:
        """Before validation."""

    def on_validation_end(self, end: ValidationEnd) -> Answer:
        """After validation, and after the best weights were kept."""

    def on_epoch_end(self, end: EpochEnd) -> Answer:
        """After an epoch. `Ask.SAVE`, `Ask.STOP` and `Epochs` are heard."""

    def on_train_end(self, end: TrainEnd) -> Answer:
        """After the last epoch."""

    def on_failure(self, failure: Failure) -> Answer:
        """When the run ends early."""
