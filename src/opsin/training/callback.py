"""What hangs on the loop. `Event` is the loop in pseudo-code."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from opsin.training.history import EpochRecord, History


class Event(Enum):
    """The loop::

    TRAIN_START
    for each stage, for each epoch:
        for each batch:
            forward, loss, backward, step
            BATCH_END
        validate, keep the best weights
        EPOCH_END            a callback may answer Ask.STOP: the stage ends
        write the checkpoint
    TRAIN_END
    """

    TRAIN_START = "on_train_start"
    BATCH_END = "on_batch_end"
    EPOCH_END = "on_epoch_end"
    TRAIN_END = "on_train_end"


class Ask(Enum):
    """What a callback may ask for by returning it."""

    STOP = "stop"


@dataclass(frozen=True)
class BatchRecord:
    """Where the loop is: `step` of `steps` in `epoch` of `epochs`; the batch's mean loss."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


class Callback:
    """Override what you need. A method `on_...` that is no event is an error."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        events = [event.value for event in Event]
        for name in vars(cls):
            if name.startswith("on_") and name not in events:
                raise TypeError(f"{cls.__name__}.{name} is no event; events: {', '.join(events)}")

    def on_train_start(self, history: History, epochs: int) -> None:
        """Before the first epoch; `history` is not empty when a run is resumed."""

    def on_batch_end(self, record: BatchRecord) -> None:
        """After each step."""

    def on_epoch_end(self, record: EpochRecord, history: History) -> Ask | None:
        """After validation; `record` is the last of `history`."""

    def on_train_end(self, history: History) -> None:
        """After the last epoch."""
