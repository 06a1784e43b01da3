"""When the time is over."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.training.callbacks.kills import KillOn
from tests.training.points import Killed, bits, make_trainer

from opsin.training.callback import Ask, Callback
from opsin.training.callbacks.time_budget import TimeBudget
from opsin.training.checkpoint import CheckpointStore
from opsin.training.events import BatchEnd, ValidationEnd
from opsin.training.saving import Saving


class Clock(Callback):
    """Time that goes on by one second a step, and by `validation` seconds a validation."""

    def __init__(self, validation: float = 0.0, now: float = 1000.0) -> None:
        self.now = now
        self.validation = validation

    def __call__(self) -> float:
        return self.now

    def on_batch_end(self, end: BatchEnd) -> None:
        self.now += 1

    def on_validation_end(self, end: ValidationEnd) -> None:
        self.now += self.validation


class StopAfter(Callback):
    def on_batch_end(self, end: BatchEnd) -> Ask | None:
        return Ask.STOP if (end.epoch, end.step) == (3, 3) else None


def test_ends_in_the_middle_of_an_epoch_that_is_validated(tmp_path: Path) -> None:
    """The same weights as a run that was asked to stop there; six steps an epoch."""
    said: list[str] = []
    clock = Clock()
    run = make_trainer(tmp_path / "a", callbacks=[clock, TimeBudget(15, said.append, clock=clock)])
    assert len(run.fit().records) == 3
    assert said == ["the time of 15.0 s is over: training stops in epoch 3, after step 3 of 6"]
    other = make_trainer(tmp_path / "b", callbacks=[StopAfter()])
    other.fit()
    assert bits(run.model) == bits(other.model)


def test_a_long_validation_counts(tmp_path: Path) -> None:
    said: list[str] = []
    clock = Clock(validation=5)
    run = make_trainer(tmp_path / "a", callbacks=[clock, TimeBudget(21, said.append, clock=clock)])
    assert len(run.fit().records) == 2
    assert said == ["the time of 21.0 s is over: training stops after epoch 2"]


def test_the_time_of_killed_processes_counts(tmp_path: Path) -> None:
    """Killed after 9 steps with a checkpoint of 7: 8 of 15 seconds are left."""
    clock = Clock()
    callbacks = [clock, TimeBudget(15, clock=clock), KillOn(("batch", 2, 3))]
    with pytest.raises(Killed):
        make_trainer(tmp_path / "a", callbacks=callbacks, saving=Saving(steps=7)).fit()
    later = Clock(now=5.0)
    run = make_trainer(tmp_path / "a", callbacks=[later, TimeBudget(15, clock=later)])
    run.fit(CheckpointStore(tmp_path / "a").newest()[0])
    assert (run.at.total, later.now) == (15, 13.0)
