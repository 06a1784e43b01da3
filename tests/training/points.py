"""Points in the plane and a small network: a training that takes a tenth of a second."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.data.batch_plan import batch_plan, share_of
from opsin.tasks.classification import Classification
from opsin.training.callback import Answer, Callback
from opsin.training.checkpoint import CheckpointStore
from opsin.training.events import BatchEnd
from opsin.training.interrupt import StopRequest
from opsin.training.loop import Trainer
from opsin.training.norms import norms
from opsin.training.optim import make_optimizer
from opsin.training.saving import Saving
from opsin.training.schedules import make_schedule
from opsin.training.stage import Stage
from opsin.training.supervised import SupervisedStep

CPU = torch.device("cpu")
CLASSES = ("a", "b", "c")


class Points:
    """Two-dimensional points of three classes as an epoch loader."""

    def __init__(self, count: int, seed: int, *, shuffle: bool, batch_size: int = 16) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.targets = torch.arange(count) % 3
        angle = self.targets * 2 * math.pi / 3
        centres = torch.stack([angle.cos(), angle.sin()], 1)
        self.inputs = centres + 0.4 * torch.randn(count, 2, generator=draw)
        self.ids = [f"{seed}/{n}" for n in range(count)]
        self.shuffle = shuffle
        self.batch_size = batch_size
        self.share = (0, 1)

    @property
    def size(self) -> int:
        return len(self.ids)

    def plan(self, epoch: int) -> list[list[int]]:
        return batch_plan(self.ids, self.batch_size, seed=0, epoch=epoch, shuffle=self.shuffle)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for rows, filler in share_of(self.plan(epoch)[start:], self.share, fill=self.shuffle):
            ids = tuple(self.ids[row] for row in rows)
            yield Batch(self.inputs[rows], self.targets[rows], ids, filler)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
    )


def make_step(
    model: nn.Module,
    learning: Iterable[nn.Parameter],
    *,
    optimizer: str = "adam",
    lr: float = 0.02,
    **options: Any,
) -> SupervisedStep:
    made = make_optimizer(optimizer, learning, lr=lr)
    return SupervisedStep(model, Classification(CLASSES), made, **options)


def make_trainer(
    folder: Path,
    *,
    epochs: int = 6,
    callbacks: Sequence[Callback] = (),
    optimizer: str = "adam",
    stages: int = 1,
    stop: StopRequest | None = None,
    lr: float = 0.02,
    schedule: str = "constant",
    step: dict[str, Any] | None = None,
    model: nn.Module | None = None,
    train: Points | None = None,
    saving: Saving | None = None,
    **options: Any,
) -> Trainer:
    """A trainer on 90 points; a checkpoint after every step unless `saving` says otherwise."""
    model = model or network()
    train, val = train or Points(90, 1, shuffle=True), Points(31, 2, shuffle=False)
    everything = tuple(model.parameters())
    goes = make_schedule(schedule)
    options_of_step = step or {}

    def stage(name: str, learning: Sequence[nn.Parameter], rate: float, **more: Any) -> Stage:
        made = make_step(model, learning, optimizer=optimizer, lr=rate, **(options_of_step | more))
        return Stage(name, epochs, rate, train, val, made, goes)

    plan = [stage("train", everything, lr)]
    if stages == 2:
        plan = [
            stage("head", everything[-2:], lr, frozen=(model[1],)),
            stage("fine-tune", everything, lr / 100, frozen=norms(model)),
        ]
    return Trainer(
        model,
        plan,
        checkpoints=CheckpointStore(folder),
        device=CPU,
        seed=5,
        callbacks=callbacks,
        stop=stop,
        saving=saving or Saving(steps=1),
        **options,
    )


def bits(model: nn.Module) -> bytes:
    return b"".join(v.numpy().tobytes() for v in model.state_dict().values())


class StopAt(Callback):
    """Asks to stop, as Ctrl-C does, after a step."""

    def __init__(self, stop: StopRequest, epoch: int, step: int) -> None:
        self.stop, self.at = stop, (epoch, step)

    def on_batch_end(self, end: BatchEnd) -> Answer:
        if (end.epoch, end.step) == self.at:
            self.stop.exit_code = 130
        return None


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it is run."""


class KillAt(Callback):
    """Ends the run after a step, before it could save anything."""

    def __init__(self, epoch: int, step: int) -> None:
        self.at = (epoch, step)

    def on_batch_end(self, end: BatchEnd) -> Answer:
        if (end.epoch, end.step) == self.at:
            raise Killed
        return None
