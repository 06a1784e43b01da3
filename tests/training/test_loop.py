"""The loop: right numbers, right freezing, and the same bits after an interruption."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.core.errors import Interrupted, NumbersWrong
from opsin.data.loader import batch_plan
from opsin.tasks.classification import Classification
from opsin.training.callback import Ask, BatchRecord, Callback
from opsin.training.callbacks.early_stopping import EarlyStopping
from opsin.training.checkpoint import CheckpointStore
from opsin.training.history import EpochRecord, History
from opsin.training.interrupt import StopRequest
from opsin.training.loop import Trainer
from opsin.training.optim import OPTIMIZERS, make_optimizer
from opsin.training.schedules import make_schedule
from opsin.training.stage import Stage, norms

CPU = torch.device("cpu")


class Points:
    """Two-dimensional points of three classes as an epoch loader."""

    def __init__(self, count: int, seed: int, *, shuffle: bool) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.targets = torch.arange(count) % 3
        angle = self.targets * 2 * math.pi / 3
        centres = torch.stack([angle.cos(), angle.sin()], 1)
        self.inputs = centres + 0.4 * torch.randn(count, 2, generator=draw)
        self.ids = [f"{seed}/{n}" for n in range(count)]
        self.shuffle = shuffle

    @property
    def size(self) -> int:
        return len(self.ids)

    def plan(self, epoch: int) -> list[list[int]]:
        return batch_plan(self.ids, 16, seed=0, epoch=epoch, shuffle=self.shuffle)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        for rows in self.plan(epoch):
            ids = tuple(self.ids[r] for r in rows)
            yield Batch(self.inputs[rows], self.targets[rows], ids)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
    )


def trainer(
    folder: Path,
    *,
    epochs: int = 6,
    callbacks: tuple[Callback, ...] = (),
    optimizer: str = "adam",
    stages: int = 1,
    stop: StopRequest | None = None,
    lr: float = 0.02,
    schedule: str = "constant",
) -> Trainer:
    model = network()
    train, val = Points(90, 1, shuffle=True), Points(31, 2, shuffle=False)
    everything = tuple(model.parameters())
    goes = make_schedule(schedule)
    plan = [Stage("train", epochs, lr, model, train, val, everything, schedule=goes)]
    if stages == 2:
        plan = [
            Stage("head", epochs, lr, model, train, val, everything[-2:], frozen=(model[1],)),
            Stage("fine-tune", epochs, lr / 100, model, train, val, everything, norms(model)),
        ]
    return Trainer(
        model,
        Classification(("a", "b", "c")),
        plan,
        checkpoints=CheckpointStore(folder),
        device=CPU,
        seed=5,
        optimizer=optimizer,
        callbacks=callbacks,
        stop=stop,
    )


def bits(model: nn.Module) -> bytes:
    return b"".join(v.numpy().tobytes() for v in model.state_dict().values())


def test_equals_a_loop_written_by_hand(tmp_path: Path) -> None:
    """Plain PyTorch, no dropout: the same weights to the bit, the same means to 1e-6."""
    ours = trainer(tmp_path / "c", epochs=3)
    ours.model[3] = nn.Identity()
    history = ours.fit()
    model = network()
    model[3] = nn.Identity()
    train, val = Points(90, 1, shuffle=True), Points(31, 2, shuffle=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
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


class StopAt(Callback):
    def __init__(self, stop: StopRequest, epoch: int, step: int) -> None:
        self.stop, self.at = stop, (epoch, step)

    def on_batch_end(self, record: BatchRecord) -> None:
        if (record.epoch, record.step) == self.at:
            self.stop.exit_code = 130


@pytest.mark.parametrize(
    ("optimizer", "at"),
    [*((name, (3, 2)) for name in OPTIMIZERS), *(("adam", at) for at in ((1, 1), (4, 6), (6, 6)))],
)
@pytest.mark.parametrize("stages", [1, 2])
def test_interrupted_and_resumed_gives_the_same_bits(
    tmp_path: Path, optimizer: str, stages: int, at: tuple[int, int]
) -> None:
    whole = trainer(tmp_path / "a", epochs=4, optimizer=optimizer, stages=stages)
    whole.fit()
    stop = StopRequest()
    cut = trainer(
        tmp_path / "b",
        epochs=4,
        optimizer=optimizer,
        stages=stages,
        stop=stop,
        callbacks=(StopAt(stop, *at),),
    )
    expected_to_stop = at[0] <= 4 * stages
    if expected_to_stop:
        with pytest.raises(Interrupted, match="whole epoch"):
            cut.fit()
    else:
        cut.fit()
    saved, notes = CheckpointStore(tmp_path / "b").newest()
    assert notes == []
    torch.manual_seed(999)  # whatever happened in between
    again = trainer(tmp_path / "b", epochs=4, optimizer=optimizer, stages=stages)
    history = again.fit(saved)
    assert bits(again.model) == bits(whole.model)
    without_time = [(r.epoch, r.stage, r.values) for r in history.records]
    assert without_time == [(r.epoch, r.stage, r.values) for r in whole.history.records]


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "step"])
def test_schedules_go_on_where_they_were(tmp_path: Path, schedule: str) -> None:
    whole = trainer(tmp_path / "a", epochs=5, schedule=schedule)
    rates = [record.lr for record in whole.fit().records]
    assert len(set(rates)) > 1
    stop = StopRequest()
    cut = trainer(
        tmp_path / "b", epochs=5, schedule=schedule, stop=stop, callbacks=(StopAt(stop, 3, 4),)
    )
    with pytest.raises(Interrupted):
        cut.fit()
    saved, _ = CheckpointStore(tmp_path / "b").newest()
    again = trainer(tmp_path / "b", epochs=5, schedule=schedule)
    assert [record.lr for record in again.fit(saved).records] == rates
    assert bits(again.model) == bits(whole.model)


def test_the_rate_of_every_step_is_the_schedules(tmp_path: Path) -> None:
    seen: list[float] = []
    run = trainer(tmp_path / "a", epochs=3, schedule="cosine", optimizer="sgd")
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
    whole = trainer(tmp_path / "a", epochs=60, callbacks=(EarlyStopping(3),), lr=0.3)
    records = whole.fit().records
    assert len(records) < 60
    best = min(range(len(records)), key=lambda n: records[n].values["val_loss"])
    assert len(records) - 1 - best == 3
    stop = StopRequest()
    cut = trainer(
        tmp_path / "b",
        epochs=60,
        lr=0.3,
        stop=stop,
        callbacks=(EarlyStopping(3), StopAt(stop, len(records) - 1, 2)),
    )
    with pytest.raises(Interrupted):
        cut.fit()
    saved, _ = CheckpointStore(tmp_path / "b").newest()
    again = trainer(tmp_path / "b", epochs=60, lr=0.3, callbacks=(EarlyStopping(3),))
    assert len(again.fit(saved).records) == len(records)
    assert bits(again.model) == bits(whole.model)


def test_frozen_parts_stay_as_they_are(tmp_path: Path) -> None:
    run = trainer(tmp_path / "a", stages=2, epochs=2)
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    run.stages = run.stages[:1]
    run.fit()
    after = run.model.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed == {"4.weight", "4.bias"}


def test_fine_tuning_keeps_running_statistics(tmp_path: Path) -> None:
    run = trainer(tmp_path / "a", stages=2, epochs=1)
    before = run.model.state_dict()["1.running_mean"].clone()
    run.fit()
    assert torch.equal(before, run.model.state_dict()["1.running_mean"])
    assert run.model[0].weight.requires_grad


def test_nan_stops_before_the_update(tmp_path: Path) -> None:
    run = trainer(tmp_path / "a", lr=0.02)
    points = run.stages[0].train
    assert isinstance(points, Points)
    points.inputs[7, 0] = float("nan")
    with pytest.raises(NumbersWrong, match=r"loss became nan at epoch 1, step \d of 6") as caught:
        run.fit()
    assert caught.value.exit_code == 5
    assert "--lr 0.002" in caught.value.fix
    assert all(torch.isfinite(p).all() for p in run.model.parameters())


def test_nan_in_validation_is_no_best_epoch(tmp_path: Path) -> None:
    run = trainer(tmp_path / "a")
    points = run.stages[0].val
    assert isinstance(points, Points)
    points.inputs[3, 0] = float("nan")
    with pytest.raises(NumbersWrong, match="val_loss became nan at epoch 1"):
        run.fit()


def test_callers_generator_is_left_alone(tmp_path: Path) -> None:
    run = trainer(tmp_path / "a", epochs=1)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    run.fit()
    assert torch.equal(torch.rand(4), expected)


def test_events_come_in_the_order_of_the_docstring(tmp_path: Path) -> None:
    seen: list[str] = []

    class Watch(Callback):
        def on_train_start(self, history: History, epochs: int) -> None:
            seen.append(f"start {epochs}")

        def on_batch_end(self, record: BatchRecord) -> None:
            seen.append(f"batch {record.epoch}.{record.step}/{record.steps}")

        def on_epoch_end(self, record: EpochRecord, history: History) -> Ask | None:
            seen.append(f"epoch {record.epoch}")
            return Ask.STOP if record.epoch == 2 else None

        def on_train_end(self, history: History) -> None:
            seen.append("end")

    trainer(tmp_path / "a", callbacks=(Watch(),)).fit()
    batches = [[f"batch {e}.{s}/6" for s in range(1, 7)] for e in (1, 2)]
    assert seen == ["start 6", *batches[0], "epoch 1", *batches[1], "epoch 2", "end"]


def test_a_misspelt_event_is_an_error() -> None:
    with pytest.raises(TypeError, match="on_epoch_finish is no event"):
        type("Mine", (Callback,), {"on_epoch_finish": lambda self: None})
