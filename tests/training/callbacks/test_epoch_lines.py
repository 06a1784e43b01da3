"""The line of an epoch."""

from __future__ import annotations

from pathlib import Path

from tests.training.callbacks.kills import run_killed
from tests.training.points import make_trainer

from opsin.core.progress import Silent
from opsin.training.callback import Ask, Callback
from opsin.training.callbacks.epoch_lines import EpochLines
from opsin.training.events import BatchStart, EpochEnd
from opsin.training.history import EpochRecord, History
from opsin.training.monitor import Monitor


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[tuple[str, int, int]] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def step(self, phase: str, done: int, total: int) -> None:
        self.steps.append((phase, done, total))


def told_of(seconds: list[float], stage: str = "train", epochs: int = 10) -> str:
    history = History(Monitor("val_loss"))
    told = Told()
    lines = EpochLines(told)
    for epoch, each in enumerate(seconds, start=1):
        values = {"train_loss": 0.412, "train_accuracy": 0.5, "val_loss": 0.9 / epoch}
        history.records.append(EpochRecord(epoch, stage, 0.001, values, each))
        lines.on_epoch_end(EpochEnd(history.records[-1], history, epochs))
    return told.lines[-1]


def test_its_look() -> None:
    assert told_of([1.2, 1.2]) == (
        "epoch 2/10  loss 0.412  val_loss 0.450 ↑  lr 0.001  1.2 s  eta 9.6 s"
    )
    assert told_of([1.2], "head").endswith("eta 10.8 s  [head]")


def test_one_slow_epoch_does_not_spoil_the_estimate() -> None:
    assert told_of([100.0, 2.0, 2.0]).endswith("eta 14.0 s")
    assert told_of([9.0] * 3 + [2.0] * 5).endswith("eta 4.0 s")


def test_a_resumed_run_tells_the_same_epochs(tmp_path: Path) -> None:
    """And its estimate rests on the whole epoch's seconds, not on those after the resume."""
    told = Told()
    history = run_killed(tmp_path, lambda: [EpochLines(told)], [("batch", 3, 5)], epochs=4).history
    third = next(line for line in reversed(told.lines) if line.startswith("epoch 3/4"))
    assert told.lines[-1].startswith("epoch 4/4")
    assert told.lines[-1].endswith("eta 0.0 s")
    assert f"val_loss {history.records[2].values['val_loss']:.3f}" in third
    assert ("epoch 3/4", 6, 6) in told.steps


def test_an_epoch_whose_batches_were_all_left_out(tmp_path: Path) -> None:
    class SkipAll(Callback):
        def on_batch_start(self, start: BatchStart) -> Ask:
            return Ask.SKIP

    told = Told()
    make_trainer(tmp_path, epochs=1, callbacks=[EpochLines(told), SkipAll()]).fit()
    assert told.lines[0].startswith("epoch 1/1  val_loss")
