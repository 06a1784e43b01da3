"""The loop: right numbers, right freezing, and the same bits after an interruption."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.points import KillAt, Killed, Points, StopAt, bits, make_trainer, network
from torch import nn

from opsin.core.errors import DataRefused, Interrupted, NumbersWrong, WrongUsage
from opsin.training import events
from opsin.training.callback import Answer, Ask, Callback, Scale
from opsin.training.callbacks.early_stopping import EarlyStopping
from opsin.training.checkpoint import CheckpointStore
from opsin.training.events import BatchEnd, EpochEnd, EpochStart, TrainEnd, TrainStart
from opsin.training.interrupt import StopRequest
from opsin.training.monitor import Monitor
from opsin.training.optim import OPTIMIZERS, make_optimizer
from opsin.training.saving import Saving


def test_equals_a_loop_written_by_hand(tmp_path: Path) -> None:
    """Plain PyTorch, no dropout: the same weights to the bit, the same means to 1e-6."""
    ours = make_trainer(tmp_path / "c", epochs=3)
    ours.model[3] = nn.Identity()
    history = ours.fit()
    model = network()
    model[3] = nn.Identity()
    train, val = Points(90, 1, shuffle=True), Points(31, 2, shuffle=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02, fused=True)
    best, best_loss = b"", math.inf
    for epoch in (1, 2, 3):
        model.train()
        for rows in train.plan(epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(train.inputs[rows]), train.targets[rows]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            outputs = model(val.inputs)
        loss = float(nn.functional.cross_entropy(outputs, val.targets))
        accuracy = float((outputs.argmax(1) == val.targets).float().mean())
        values = history.records[epoch - 1].values
        assert values["val_loss"] == pytest.approx(loss, rel=1e-6)
        assert values["val_accuracy"] == pytest.approx(accuracy)
        if loss < best_loss:
            best, best_loss = bits(model), loss
    assert bits(ours.model) == best


@pytest.mark.parametrize(
    ("optimizer", "at"),
    [*((name, (3, 2)) for name in OPTIMIZERS), *(("adam", at) for at in ((1, 1), (4, 6), (6, 6)))],
)
@pytest.mark.parametrize("stages", [1, 2])
def test_interrupted_and_resumed_gives_the_same_bits(
    tmp_path: Path, optimizer: str, stages: int, at: tuple[int, int]
) -> None:
    whole = make_trainer(tmp_path / "a", epochs=4, optimizer=optimizer, stages=stages)
    whole.fit()
    stop = StopRequest()
    cut = make_trainer(
        tmp_path / "b",
        epochs=4,
        optimizer=optimizer,
        stages=stages,
        stop=stop,
        callbacks=(StopAt(stop, *at),),
    )
    expected_to_stop = at[0] <= 4 * stages
    if expected_to_stop:
        with pytest.raises(Interrupted, match="saved as step-"):
            cut.fit()
    else:
        cut.fit()
    saved, notes = CheckpointStore(tmp_path / "b").newest()
    assert notes == []
    torch.manual_seed(999)  # whatever happened in between
    again = make_trainer(tmp_path / "b", epochs=4, optimizer=optimizer, stages=stages)
    history = again.fit(saved)
    assert bits(again.model) == bits(whole.model)
    without_time = [(r.epoch, r.stage, r.values) for r in history.records]
    assert without_time == [(r.epoch, r.stage, r.values) for r in whole.history.records]


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "step"])
def test_schedules_go_on_where_they_were(tmp_path: Path, schedule: str) -> None:
    whole = make_trainer(tmp_path / "a", epochs=5, schedule=schedule)
    rates = [record.lr for record in whole.fit().records]
    assert len(set(rates)) > 1
    stop = StopRequest()
    cut = make_trainer(
        tmp_path / "b", epochs=5, schedule=schedule, stop=stop, callbacks=(StopAt(stop, 3, 4),)
    )
    with pytest.raises(Interrupted):
        cut.fit()
    saved, _ = CheckpointStore(tmp_path / "b").newest()
    again = make_trainer(tmp_path / "b", epochs=5, schedule=schedule)
    assert [record.lr for record in again.fit(saved).records] == rates
    assert bits(again.model) == bits(whole.model)


def test_the_rate_of_every_step_is_the_schedules(tmp_path: Path) -> None:
    seen: list[float] = []
    run = make_trainer(tmp_path / "a", epochs=3, schedule="cosine", optimizer="sgd")
    original = torch.optim.SGD.step

    def step(self: torch.optim.SGD, *arguments: object) -> object:
        seen.append(self.param_groups[0]["lr"])
        return original(self, *arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", step)
        run.fit()
    assert len(seen) == 18
    assert seen == pytest.approx([0.02 * (1 + math.cos(math.pi * n / 18)) / 2 for n in range(18)])


def test_biases_and_norms_do_not_decay() -> None:
    model = network()
    optimizer = make_optimizer("sgd", model.parameters(), lr=1.0, weight_decay=0.1)
    before = {name: value.clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in model.named_parameters():
        assert torch.equal(before[name], value) == (value.ndim == 1), name


def test_early_stopping_is_the_same_after_a_resume(tmp_path: Path) -> None:
    whole = make_trainer(
        tmp_path / "a", epochs=60, callbacks=(EarlyStopping(3, Monitor("val_loss")),), lr=0.3
    )
    records = whole.fit().records
    assert len(records) < 60
    best = min(range(len(records)), key=lambda n: records[n].values["val_loss"])
    assert len(records) - 1 - best == 3
    stop = StopRequest()
    cut = make_trainer(
        tmp_path / "b",
        epochs=60,
        lr=0.3,
        stop=stop,
        callbacks=(EarlyStopping(3, Monitor("val_loss")), StopAt(stop, len(records) - 1, 2)),
    )
    with pytest.raises(Interrupted):
        cut.fit()
    saved, _ = CheckpointStore(tmp_path / "b").newest()
    again = make_trainer(
        tmp_path / "b", epochs=60, lr=0.3, callbacks=(EarlyStopping(3, Monitor("val_loss")),)
    )
    assert len(again.fit(saved).records) == len(records)
    assert bits(again.model) == bits(whole.model)


def test_frozen_parts_stay_as_they_are(tmp_path: Path) -> None:
    run = make_trainer(tmp_path / "a", stages=2, epochs=2)
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    run.stages = run.stages[:1]
    run.fit()
    after = run.model.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed == {"4.weight", "4.bias"}


def test_fine_tuning_keeps_running_statistics(tmp_path: Path) -> None:
    run = make_trainer(tmp_path / "a", stages=2, epochs=1)
    before = run.model.state_dict()["1.running_mean"].clone()
    run.fit()
    assert torch.equal(before, run.model.state_dict()["1.running_mean"])
    assert run.model[0].weight.requires_grad


def test_nan_in_validation_is_no_best_epoch(tmp_path: Path) -> None:
    run = make_trainer(tmp_path / "a")
    points = run.stages[0].val
    assert isinstance(points, Points)
    points.inputs[3, 0] = float("nan")
    with pytest.raises(NumbersWrong, match="val_loss became nan at epoch 1"):
        run.fit()


def test_callers_generator_is_left_alone(tmp_path: Path) -> None:
    run = make_trainer(tmp_path / "a", epochs=1)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    run.fit()
    assert torch.equal(torch.rand(4), expected)


def test_events_come_in_the_order_of_the_docstring(tmp_path: Path) -> None:
    seen: list[str] = []
    watch = {
        event.value: lambda self, record, name=event.name: seen.append(name)
        for event in events.Event
    }

    class StopSecond(Callback):
        def on_epoch_end(self, end: EpochEnd) -> Answer:
            return Ask.STOP if end.record.epoch == 2 else None

    make_trainer(
        tmp_path / "a", callbacks=(type("Watch", (Callback,), watch)(), StopSecond())
    ).fit()
    batch = ["BATCH_START", "UPDATE_START", "BATCH_END"]
    epoch = ["EPOCH_START", *batch * 6, "VALIDATION_START", "VALIDATION_END", "EPOCH_END"]
    assert seen == ["TRAIN_START", "STAGE_START", *epoch * 2, "TRAIN_END"]
    docstring = [line.split()[0] for line in str(events.Event.__doc__).splitlines() if line.strip()]
    named = [word for word in docstring if word in events.Event.__members__]
    assert named == ["TRAIN_START", "STAGE_START", "EPOCH_START", *batch, *epoch[-3:], "TRAIN_END"]


def test_failure_is_told(tmp_path: Path) -> None:
    seen: list[BaseException] = []

    class Watch(Callback):
        def on_failure(self, failure: events.Failure) -> Answer:
            seen.append(failure.error)
            return None

    with pytest.raises(Killed):
        make_trainer(tmp_path / "a", callbacks=(Watch(), KillAt(2, 1))).fit()
    assert [type(error) for error in seen] == [Killed]


def test_records_count_right(tmp_path: Path) -> None:
    ends: list[BatchEnd] = []
    starts: list[TrainStart | TrainEnd] = []

    class Watch(Callback):
        def on_train_start(self, start: TrainStart) -> Answer:
            starts.append(start)
            return None

        def on_batch_end(self, end: BatchEnd) -> Answer:
            ends.append(end)
            return None

    make_trainer(tmp_path / "a", epochs=2, callbacks=(Watch(),)).fit()
    assert [(e.epoch, e.epochs, e.step, e.steps, e.total) for e in ends] == [
        (n // 6 + 1, 2, n % 6 + 1, 6, n + 1) for n in range(12)
    ]
    assert isinstance(starts[0], TrainStart)
    assert (starts[0].epochs, starts[0].step) == (2, 0)


def test_a_skipped_batch_is_not_learnt_from(tmp_path: Path) -> None:
    class SkipAll(Callback):
        def on_batch_start(self, start: events.BatchStart) -> Answer:
            return Ask.SKIP if start.step != 3 else None

    whole = make_trainer(tmp_path / "a", epochs=1, callbacks=(SkipAll(),))
    record = whole.fit().records[0]
    one = make_trainer(tmp_path / "b", epochs=1)
    batch = list(one.stages[0].train.epoch(1))[2]
    torch.manual_seed(0)
    kept: list[float] = []

    class Watch(Callback):
        def on_batch_end(self, end: BatchEnd) -> Answer:
            kept.append(end.loss)
            return None

    again = make_trainer(tmp_path / "c", epochs=1, callbacks=(SkipAll(), Watch()))
    again.fit()
    assert [math.isnan(loss) for loss in kept] == [True, True, False, True, True, True]
    assert record.values["train_loss"] == pytest.approx(kept[2], rel=1e-6)
    assert len(batch) == 16
    assert bits(again.model) == bits(whole.model) != bits(network())


def test_scale_changes_the_rate_of_one_epoch(tmp_path: Path) -> None:
    class Half(Callback):
        def on_epoch_start(self, start: EpochStart) -> Answer:
            return Scale(0.5) if start.epoch == 2 else None

    run = make_trainer(tmp_path / "a", epochs=3, callbacks=(Half(), Half()))
    assert [record.lr for record in run.fit().records] == [0.02, 0.005, 0.02]


def test_a_callback_may_stop_inside_an_epoch(tmp_path: Path) -> None:
    class Enough(Callback):
        def on_batch_end(self, end: BatchEnd) -> Answer:
            return Ask.STOP if (end.epoch, end.step) == (2, 3) else None

    run = make_trainer(tmp_path / "a", callbacks=(Enough(),))
    records = run.fit().records
    assert len(records) == 2
    saved, _ = CheckpointStore(tmp_path / "a").newest()
    assert saved
    assert saved.path.name.startswith("step-00000009.")
    assert len(make_trainer(tmp_path / "a").fit(saved).records) == 2


def test_a_callback_may_ask_for_a_checkpoint(tmp_path: Path) -> None:
    class Save(Callback):
        def on_batch_end(self, end: BatchEnd) -> Answer:
            return Ask.SAVE if end.total == 4 else None

    never = Saving(steps=None, seconds=math.inf)
    with pytest.raises(Killed):
        make_trainer(tmp_path / "a", callbacks=(Save(), KillAt(2, 5)), saving=never).fit()
    saved, _ = CheckpointStore(tmp_path / "a").newest()
    assert saved
    assert saved.state["position"]["total"] == 4


@pytest.mark.parametrize("event", ["on_epoch_start", "on_batch_start", "on_batch_end",
                                   "on_validation_start", "on_epoch_end"])  # fmt: skip
def test_a_callback_that_raises_is_named_and_the_run_saved(tmp_path: Path, event: str) -> None:
    whole = make_trainer(tmp_path / "a", epochs=3)
    whole.fit()
    seen: list[int] = []

    def fail(self: Callback, record: Any) -> None:
        seen.append(1)
        if len(seen) == 2:
            raise ZeroDivisionError("a fault of the user's")

    broken = type("Broken", (Callback,), {event: fail})()
    never = Saving(steps=None, seconds=math.inf)
    with pytest.raises(WrongUsage, match=rf"Broken.{event} raised ZeroDivisionError: a fault"):
        make_trainer(tmp_path / "b", epochs=3, callbacks=(broken,), saving=never).fit()
    saved, _ = CheckpointStore(tmp_path / "b").newest()
    again = make_trainer(tmp_path / "b", epochs=3)
    again.fit(saved)
    assert saved
    assert bits(again.model) == bits(whole.model)


def test_a_callback_keeps_its_memory(tmp_path: Path) -> None:
    class Count(Callback):
        steps = 0
        total = torch.zeros(1)

        def on_batch_end(self, end: BatchEnd) -> Answer:
            self.steps += 1
            self.total = self.total + end.loss
            return None

        def state(self) -> dict[str, Any]:
            return {"steps": self.steps}

        def tensors(self) -> dict[str, torch.Tensor]:
            return {"total": self.total}

        def load(self, state: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
            self.steps, self.total = state["steps"], tensors["total"]

    whole = (Count(), Count())
    make_trainer(tmp_path / "a", callbacks=whole).fit()
    with pytest.raises(Killed):
        make_trainer(tmp_path / "b", callbacks=(Count(), Count(), KillAt(4, 2))).fit()
    saved, _ = CheckpointStore(tmp_path / "b").newest()
    again = (Count(), Count())
    make_trainer(tmp_path / "b", callbacks=again).fit(saved)
    assert [each.steps for each in again] == [each.steps for each in whole] == [36, 36]
    assert torch.equal(again[1].total, whole[1].total)


def test_a_loader_that_ends_early_is_told(tmp_path: Path) -> None:
    class Short(Points):
        def epoch(self, epoch: int, start: int = 0) -> Any:
            return iter(list(super().epoch(epoch, start))[: 4 - start])

    run = make_trainer(tmp_path / "a", train=Short(90, 1, shuffle=True))
    with pytest.raises(DataRefused, match="the loader gave 4 of 6 batches in epoch 1"):
        run.fit()


def test_an_unknown_monitor_is_refused_with_the_list(tmp_path: Path) -> None:
    run = make_trainer(tmp_path / "a", monitors=[Monitor("val_acuracy")])
    with pytest.raises(WrongUsage, match="accuracy"):
        run.fit()


def test_several_bests_are_kept(tmp_path: Path) -> None:
    names = ["val_loss", "val_accuracy", "val_macro_f1", "val_recall:b"]
    run = make_trainer(tmp_path / "a", monitors=[Monitor(name) for name in names], lr=0.2)
    history = run.fit()
    store = CheckpointStore(tmp_path / "a")
    for monitor in run.best.monitors:
        best = history.best_by(monitor)
        assert best
        again = make_trainer(tmp_path / "b", epochs=best.epoch, lr=0.2, restore_best=False)
        again.fit()
        kept = store.best(monitor.name, best.epoch).tensors
        assert all(torch.equal(kept[k], v) for k, v in again.model.state_dict().items())
    assert len(list((tmp_path / "a").glob("best-*"))) <= 2 * len(names)


def test_the_last_weights_may_be_kept(tmp_path: Path) -> None:
    class Wreck(Callback):
        def on_epoch_start(self, start: EpochStart) -> Answer:
            """Without it the last epoch may be the best."""
            return Scale(1e4 if start.epoch == start.epochs else 1.0)

    run = make_trainer(tmp_path / "a", callbacks=[Wreck()], restore_best=False)
    best = make_trainer(tmp_path / "b", callbacks=[Wreck()])
    history = best.fit()
    run.fit()
    assert history.best is not history.records[-1]
    assert bits(run.model) != bits(best.model)


def test_a_misspelt_event_is_an_error() -> None:
    with pytest.raises(TypeError, match="on_epoch_finish is no event"):
        type("Mine", (Callback,), {"on_epoch_finish": lambda self: None})
