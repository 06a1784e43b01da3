"""The same training twice: in one go, and killed again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.training.points import Killed, make_trainer

from opsin.training.callback import Callback
from opsin.training.checkpoint import CheckpointStore
from opsin.training.events import BatchEnd, EpochEnd, ValidationStart
from opsin.training.loop import Trainer
from opsin.training.saving import Saving

Make = Callable[[], Sequence[Callback]]
At = tuple[str, int, int]
"""An event's name, an epoch, a step (0 where the event has none)."""

KILLS: list[At] = [
    ("batch", 1, 1),
    ("batch", 2, 3),
    ("validation", 2, 0),
    ("epoch", 3, 0),
    ("batch", 5, 2),
    ("epoch", 5, 0),
]
"""With a checkpoint every seven steps (an epoch has six) some of them throw epochs away."""


class KillOn(Callback):
    """Ends the run at an event, after every callback before it in the list has heard of it."""

    def __init__(self, at: At) -> None:
        self.at = at

    def on_batch_end(self, end: BatchEnd) -> None:
        self._kill(("batch", end.epoch, end.step))

    def on_validation_start(self, start: ValidationStart) -> None:
        self._kill(("validation", start.epoch, 0))

    def on_epoch_end(self, end: EpochEnd) -> None:
        self._kill(("epoch", end.record.epoch, 0))

    def _kill(self, here: At) -> None:
        if here == self.at:
            raise Killed


def run_whole(folder: Path, make: Make, **options: Any) -> Trainer:
    """In one go, with a checkpoint every seven steps."""
    trainer = make_trainer(folder, callbacks=make(), saving=Saving(steps=7), **options)
    trainer.fit()
    return trainer


def run_killed(folder: Path, make: Make, kills: Sequence[At] = KILLS, **options: Any) -> Trainer:
    """Killed at each of `kills`, each time gone on from the newest checkpoint."""
    for at in kills:
        callbacks = [*make(), KillOn(at)]
        trainer = make_trainer(folder, callbacks=callbacks, saving=Saving(steps=7), **options)
        with pytest.raises(Killed):
            trainer.fit(CheckpointStore(folder).newest()[0])
    trainer = make_trainer(folder, callbacks=make(), saving=Saving(steps=7), **options)
    trainer.fit(CheckpointStore(folder).newest()[0])
    return trainer
