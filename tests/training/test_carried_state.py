"""What a step may depend on beside weights and optimizers: each comes back after a kill."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.points import CPU, KillAt, Killed, Points, bits, make_trainer, network
from torch import nn

from opsin.core.errors import Interrupted, NumbersWrong, WrongUsage
from opsin.tasks.own import OwnTask
from opsin.training.callback import Answer, Ask, Callback, Scale
from opsin.training.checkpoint import CheckpointStore
from opsin.training.events import (
    BatchEnd,
    BatchStart,
    EpochEnd,
    EpochStart,
    UpdateStart,
    ValidationEnd,
)
from opsin.training.interrupt import StopRequest
from opsin.training.loop import Trainer
from opsin.training.monitor import Monitor
from opsin.training.optim import make_optimizer
from opsin.training.saving import Saving
from opsin.training.stage import Stage
from opsin.training.supervised import SupervisedStep


class Jitter(nn.Module):
    """Draws from numpy and `random`, as mixing code on the web does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(np.random.beta(2, 2)) + random.random() if self.training else x


class Counter(nn.Module):
    """A buffer that is not part of the state of a model, and changes what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.steps += 1
        out: torch.Tensor = x * (1 + self.steps / 50)
        return out


def jittery() -> nn.Module:
    return nn.Sequential(Jitter(), network())


def counting() -> nn.Module:
    return nn.Sequential(Counter(), network())


@pytest.mark.parametrize("make", [jittery, counting])
def test_draws_of_other_libraries_and_passing_buffers(
    tmp_path: Path, make: Callable[[], nn.Module]
) -> None:
    whole = make_trainer(tmp_path / "a", epochs=3, model=make())
    whole.fit()
    for epoch, step in ((1, 4), (3, 2)):
        folder = tmp_path / f"{epoch}"
        with pytest.raises(Killed):
            make_trainer(folder, epochs=3, model=make(), callbacks=(KillAt(epoch, step),)).fit()
        np.random.seed(9)
        random.seed(9)
        saved, _ = CheckpointStore(folder).newest()
        again = make_trainer(folder, epochs=3, model=make())
        again.fit(saved)
        assert bits(again.model) == bits(whole.model)


def test_the_callers_generators_are_left_alone(tmp_path: Path) -> None:
    run = make_trainer(tmp_path / "a", epochs=1)
    np.random.seed(3)
    random.seed(3)
    expected = np.random.rand(), random.random()
    np.random.seed(3)
    random.seed(3)
    run.fit()
    assert (np.random.rand(), random.random()) == expected


class Running(nn.Module):
    """A loss that keeps a running number."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(()))

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses = nn.functional.cross_entropy(outputs, targets, reduction="none")
        if outputs.requires_grad:
            self.mean = 0.9 * self.mean + 0.1 * losses.detach().mean()
        return losses / self.mean


def own_trainer(folder: Path, *callbacks: Callback, train: Points | None = None) -> Trainer:
    model = network()
    step = SupervisedStep(
        model, OwnTask(Running()), make_optimizer("adam", model.parameters(), lr=0.02)
    )
    train = train or Points(90, 1, shuffle=True)
    stage = Stage("train", 3, 0.02, train, Points(31, 2, shuffle=False), step)
    return Trainer(
        model, [stage], checkpoints=CheckpointStore(folder), device=CPU, seed=5,
        callbacks=callbacks, saving=Saving(steps=1),
    )  # fmt: skip


def test_a_loss_with_a_memory(tmp_path: Path) -> None:
    whole = own_trainer(tmp_path / "a")
    whole.fit()
    with pytest.raises(Killed):
        own_trainer(tmp_path / "b", KillAt(2, 3)).fit()
    saved, _ = CheckpointStore(tmp_path / "b").newest()
    again = own_trainer(tmp_path / "b")
    again.fit(saved)
    assert bits(again.model) == bits(whole.model)


class Pictures(Points):
    def __init__(self) -> None:
        super().__init__(30, 1, shuffle=True)
        draw = torch.Generator().manual_seed(1)
        self.inputs = torch.randn(30, 3, 12, 12, generator=draw)


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


@pytest.mark.parametrize("before", [torch.channels_last, torch.contiguous_format])
def test_the_memory_layout_comes_from_the_checkpoint(
    tmp_path: Path, before: torch.memory_format
) -> None:
    def trainer(folder: str, layout: torch.memory_format, *callbacks: Callback) -> Trainer:
        model = convolutional().to(memory_format=layout)
        return make_trainer(
            tmp_path / folder, epochs=2, model=model, callbacks=callbacks, train=Pictures()
        )

    after = torch.contiguous_format if before is torch.channels_last else torch.channels_last
    whole = trainer("a", before)
    whole.stages[0].val.inputs = torch.randn(31, 3, 12, 12)  # type: ignore[attr-defined]
    cut, again = trainer("b", before, KillAt(2, 1)), trainer("b", after)
    for each in (cut, again):
        each.stages[0].val.inputs = whole.stages[0].val.inputs  # type: ignore[attr-defined]
    whole.fit()
    with pytest.raises(Killed):
        cut.fit()
    again.fit(CheckpointStore(tmp_path / "b").newest()[0])
    assert bits(again.model) == bits(whole.model)
    first = again.model[0].weight  # type: ignore[index]
    assert first.is_contiguous(memory_format=before)


class StopThere(Callback):
    """Asks to end the stage; and somebody presses Ctrl-C in the same step, or while validating."""

    def __init__(self, stop: StopRequest | None, *, later: bool = False) -> None:
        self.stop, self.later = stop, later

    def on_batch_end(self, end: BatchEnd) -> Answer:
        if end.total != 10:
            return None
        if self.stop and not self.later:
            self.stop.exit_code = 130
        return Ask.STOP

    def on_validation_start(self, start: Any) -> Answer:
        if self.stop and self.later and start.epoch == 2:
            self.stop.exit_code = 130
        return None


@pytest.mark.parametrize("later", [False, True])
def test_a_wish_to_stop_survives_ctrl_c(tmp_path: Path, later: bool) -> None:
    whole = make_trainer(tmp_path / "a", callbacks=(StopThere(None),))
    records = whole.fit().records
    stop = StopRequest()
    with pytest.raises(Interrupted):
        make_trainer(tmp_path / "b", stop=stop, callbacks=(StopThere(stop, later=later),)).fit()
    again = make_trainer(tmp_path / "b", callbacks=(StopThere(None),))
    assert len(again.fit(CheckpointStore(tmp_path / "b").newest()[0]).records) == len(records) == 2
    assert bits(again.model) == bits(whole.model)


class Moody(Callback):
    """Halves the rate and leaves batches out; fails once where it is told to."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails

    def on_epoch_start(self, start: EpochStart) -> Answer:
        if self.fails == "epoch" and start.epoch == 2:
            raise ZeroDivisionError
        return Scale(0.1)

    def on_batch_start(self, start: BatchStart) -> Answer:
        if self.fails == "batch" and (start.epoch, start.step) == (2, 3):
            raise ZeroDivisionError
        return Ask.SKIP if start.step == 3 else None


@pytest.mark.parametrize("fails", ["epoch", "batch"])
def test_no_step_is_taken_without_the_answer_of_a_callback(tmp_path: Path, fails: str) -> None:
    whole = make_trainer(tmp_path / "a", epochs=3, callbacks=(Moody(),))
    whole.fit()
    with pytest.raises(WrongUsage, match="Moody"):
        make_trainer(tmp_path / "b", epochs=3, callbacks=(Moody(fails),)).fit()
    again = make_trainer(tmp_path / "b", epochs=3, callbacks=(Moody(),))
    again.fit(CheckpointStore(tmp_path / "b").newest()[0])
    assert bits(again.model) == bits(whole.model)


def test_a_callback_that_fails_before_the_update_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    class Clip(Callback):
        def on_update_start(self, start: UpdateStart) -> Answer:
            if (start.epoch, start.step) == (2, 3):
                raise ZeroDivisionError
            return None

    whole = make_trainer(tmp_path / "a", epochs=3)
    whole.fit()
    with pytest.raises(WrongUsage, match=r"Clip\.on_update_start"):
        make_trainer(tmp_path / "b", epochs=3, callbacks=(Clip(),)).fit()
    saved, _ = CheckpointStore(tmp_path / "b").newest()
    assert saved
    assert saved.state["position"]["total"] == 8
    again = make_trainer(tmp_path / "b", epochs=3)
    again.fit(saved)
    assert bits(again.model) == bits(whole.model)


@pytest.mark.parametrize("answer", [Ask.SKIP, True, Scale(0.5)])
def test_an_answer_that_nobody_hears_is_an_error(tmp_path: Path, answer: Any) -> None:
    class Hopeful(Callback):
        def on_epoch_end(self, end: EpochEnd) -> Answer:
            return answer  # type: ignore[no-any-return]

    class Late(Callback):
        def on_validation_end(self, end: ValidationEnd) -> Answer:
            return Ask.STOP

    for kind in (Hopeful, Late):
        with pytest.raises(WrongUsage, match=rf"{kind.__name__}.on_\w+ answered .*not heard"):
            make_trainer(tmp_path / kind.__name__, callbacks=(kind(),)).fit()


@pytest.mark.parametrize("state", [{"a": np.float32(1)}, {1: 2}, {"a": {1, 2}}])
def test_a_memory_that_is_no_json_is_named(tmp_path: Path, state: Any) -> None:
    class Forgetful(Callback):
        def state(self) -> dict[str, Any]:
            return state  # type: ignore[no-any-return]

    with pytest.raises(WrongUsage, match=r"callback Forgetful\.state"):
        make_trainer(tmp_path / "a", callbacks=(Forgetful(),)).fit()


def test_a_label_outside_the_classes_is_seen_in_every_batch(tmp_path: Path) -> None:
    points = Points(90, 1, shuffle=True)
    late = points.plan(1)[4][3]
    points.targets[late] = 7
    with pytest.raises(WrongUsage, match=rf"labels outside 0 to 2: 1/{late} has 7"):
        make_trainer(tmp_path / "a", train=points).fit()


def test_another_metric_may_be_undefined(tmp_path: Path) -> None:
    def often(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        return math.nan

    def trainer(folder: str, *names: str) -> Trainer:
        model = network()
        optimizer = make_optimizer("adam", model.parameters(), lr=0.02)
        task = OwnTask(nn.CrossEntropyLoss(), [often])
        step = SupervisedStep(model, task, optimizer)
        sets = Points(90, 1, shuffle=True), Points(31, 2, shuffle=False)
        return Trainer(
            model, [Stage("train", 2, 0.02, *sets, step)], seed=5, device=CPU,
            checkpoints=CheckpointStore(tmp_path / folder),
            monitors=[Monitor(name) for name in names],
        )  # fmt: skip

    assert math.isnan(trainer("a", "val_loss").fit().records[1].values["val_often"])
    with pytest.raises(NumbersWrong, match="val_often became nan"):
        trainer("b", "val_loss", "val_often").fit()
