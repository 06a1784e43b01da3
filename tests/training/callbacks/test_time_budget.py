"""When the time is over."""

from __future__ import annotations

from dataclasses import replace
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
        return Ask.STOP if (end.epoch, end.step) == (1, 4) else None


class Slower(Clock):
    """Each step takes half a second longer from epoch to epoch."""

    def on_batch_end(self, end: BatchEnd) -> None:
        self.now += 0.5 + 0.5 * end.epoch


def rates(folder: Path) -> list[float]:
    rows = CheckpointStore(folder).newest()[0]
    assert rows is not None
    return [row["lr"] for row in rows.state["history"]]


def test_plans_as_many_epochs_as_fit_and_their_schedule_is_whole(tmp_path: Path) -> None:
    """Six steps of a second an epoch, ten epochs wanted, 27 seconds: four epochs."""
    said: list[str] = []
    clock = Clock()
    budget = TimeBudget(27, said.append, clock=clock)
    run = make_trainer(tmp_path / "a", epochs=10, schedule="polynomial", callbacks=[clock, budget])
    assert len(run.fit().records) == 4
    assert clock.now - 1000 == 24
    assert said == ["3 epochs of 6.0 s fit into what is left of 27.0 s: 4 in place of 10"]
    assert run.epochs == 4
    # Linear to 0 over 24 steps from the second epoch on; the first went by the plan of ten.
    last = [0.02 * (1 - 5 / 60), *(0.02 * (1 - (6 * epoch - 1) / 24) for epoch in (2, 3, 4))]
    assert rates(tmp_path / "a") == pytest.approx(last)


def test_a_forecast_plans_before_the_first_step(tmp_path: Path) -> None:
    """The bits of a run that was begun with so many epochs."""
    clock = Clock()
    budget = TimeBudget(27, epoch_s=6.0, clock=clock)
    run = make_trainer(tmp_path / "a", epochs=10, schedule="cosine", callbacks=[clock, budget])
    run.fit()
    other = make_trainer(tmp_path / "b", epochs=4, schedule="cosine")
    other.fit()
    assert bits(run.model) == bits(other.model)


def test_a_forecast_that_was_too_long_is_mended(tmp_path: Path) -> None:
    """By the forecast five of ten epochs fit into 60.5 seconds; each takes half of it: all do."""
    said: list[str] = []
    clock = Clock()
    budget = TimeBudget(60.5, said.append, epoch_s=12.0, clock=clock)
    run = make_trainer(tmp_path / "a", epochs=10, callbacks=[clock, budget])
    assert len(run.fit().records) == 10
    assert said == [
        "5 epochs of 12.0 s fit into what is left of 1 min 0 s: 5 in place of 10",
        "9 epochs of 6.0 s fit into what is left of 1 min 0 s: 10 in place of 5",
    ]


def test_time_that_suffices_changes_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    clock = Clock()
    budget = TimeBudget(36.5, said.append, epoch_s=6.0, clock=clock)
    run = make_trainer(tmp_path / "a", schedule="cosine", callbacks=[clock, budget])
    run.fit()
    other = make_trainer(tmp_path / "b", schedule="cosine")
    other.fit()
    assert bits(run.model) == bits(other.model)
    assert said == []


def test_epochs_that_grow_slower_are_planned_again(tmp_path: Path) -> None:
    """6, 9, 12 seconds an epoch: after two of them 15 of 30 seconds are left, by a median of 7.5
    enough for two; after the third three are left, and it was the last.
    """
    clock = Slower()
    budget = TimeBudget(30, clock=clock)
    run = make_trainer(tmp_path / "a", epochs=10, callbacks=[clock, budget])
    assert len(run.fit().records) == 3
    assert clock.now - 1000 == 27


def test_stops_inside_an_epoch_that_is_too_long_and_validates_it(tmp_path: Path) -> None:
    """The same weights as a run that was asked to stop there."""
    said: list[str] = []
    clock = Clock()
    run = make_trainer(tmp_path / "a", callbacks=[clock, TimeBudget(4, said.append, clock=clock)])
    assert len(run.fit().records) == 1
    assert said == ["the time of 4.0 s is over: training stops in epoch 1, after step 4 of 6"]
    other = make_trainer(tmp_path / "b", callbacks=[StopAfter()])
    other.fit()
    assert bits(run.model) == bits(other.model)


def test_a_long_validation_counts(tmp_path: Path) -> None:
    """An epoch is 6 seconds of steps and 5 of validation; of 21 seconds 11 are left after one...
    and where its own validation would come too late, the steps end before it.
    """
    clock = Clock(validation=5)
    budget = TimeBudget(22, clock=clock)
    run = make_trainer(tmp_path / "a", callbacks=[clock, budget])
    assert len(run.fit().records) == 2
    assert clock.now - 1000 == 22
    clock = Clock(validation=5)
    budget = TimeBudget(8, clock=clock, validation_s=5.0)
    run = make_trainer(tmp_path / "b", callbacks=[clock, budget])
    assert len(run.fit().records) == 1
    assert clock.now - 1000 == 8


def test_each_stage_gets_its_share(tmp_path: Path) -> None:
    """Two stages of ten epochs, six seconds each, in 60 seconds: five and five."""
    clock = Clock()
    budget = TimeBudget(60, epoch_s=6.0, clock=clock)
    run = make_trainer(tmp_path / "a", epochs=10, stages=2, callbacks=[clock, budget])
    records = run.fit().records
    assert [each.stage for each in records] == ["head"] * 5 + ["fine-tune"] * 5


@pytest.mark.parametrize("at", [("batch", 2, 3), ("epoch", 1, 0), ("batch", 1, 2)])
def test_a_resumed_run_goes_on_with_the_plan(tmp_path: Path, at: tuple[str, int, int]) -> None:
    """Killed, with a checkpoint after each step: the bits of the run that was not."""
    clock = Clock()
    budget = TimeBudget(27, clock=clock)
    whole = make_trainer(tmp_path / "a", epochs=10, schedule="cosine", callbacks=[clock, budget])
    whole.fit()
    clock = Clock()
    callbacks = [clock, TimeBudget(27, clock=clock), KillOn(at)]
    with pytest.raises(Killed):
        make_trainer(tmp_path / "b", epochs=10, schedule="cosine", callbacks=callbacks).fit()
    later = Clock(now=5.0)
    run = make_trainer(
        tmp_path / "b",
        epochs=10,
        schedule="cosine",
        callbacks=[later, TimeBudget(27, clock=later)],
    )
    run.fit(CheckpointStore(tmp_path / "b").newest()[0])
    assert len(run.history.records) == 4
    assert bits(run.model) == bits(whole.model)


def test_the_time_of_killed_processes_counts(tmp_path: Path) -> None:
    """Killed after 9 steps with a checkpoint of 7: 8 of 15 seconds are left, of which the second
    epoch takes 5.
    """
    clock = Clock()
    callbacks = [clock, TimeBudget(15, clock=clock), KillOn(("batch", 2, 3))]
    with pytest.raises(Killed):
        make_trainer(tmp_path / "a", callbacks=callbacks, saving=Saving(steps=7)).fit()
    later = Clock(now=5.0)
    run = make_trainer(tmp_path / "a", callbacks=[later, TimeBudget(15, clock=later)])
    run.fit(CheckpointStore(tmp_path / "a").newest()[0])
    assert (run.at.total, later.now) == (12, 10.0)


def test_a_run_that_had_time_for_all_goes_on_for_more(tmp_path: Path) -> None:
    """What was planned then was all there was; it is no limit now."""
    clock = Clock()
    first = make_trainer(tmp_path / "a", epochs=3, callbacks=[clock, TimeBudget(1000, clock=clock)])
    first.fit()
    saved, _ = CheckpointStore(tmp_path / "a").newest()
    assert saved is not None
    position = saved.state["position"] | {"stage_ended": False}
    again = replace(saved, state=saved.state | {"position": position})
    longer = make_trainer(
        tmp_path / "a", epochs=8, callbacks=[clock, TimeBudget(1000, clock=clock)]
    )
    assert len(longer.fit(again).records) == 8
