"""One line an epoch that stays, and a bar while it runs."""

from __future__ import annotations

from statistics import median

from opsin.core.progress import Progress
from opsin.core.words import duration
from opsin.training.callback import Callback
from opsin.training.events import BatchEnd, EpochEnd

RECENT = 5
"""So many epochs tell how long the next ones take; the median, because the first of a stage may
compute features, and a machine may sleep."""


class EpochLines(Callback):
    """A line: `epoch 3/20  loss 0.412  val_loss 0.390  val_accuracy 0.870 ↑  lr 0.001  1.2 s  eta
    20.4 s`. The arrow marks the best epoch so far. A resumed run estimates like a whole one: an
    epoch's seconds are those of all processes that worked on it.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_batch_end(self, end: BatchEnd) -> None:
        """Move the bar."""
        self.progress.step(f"epoch {end.epoch}/{end.epochs}", end.step, end.steps)

    def on_epoch_end(self, end: EpochEnd) -> None:
        """Print the line."""
        record, values = end.record, end.record.values
        shown = [f"epoch {record.epoch}/{end.epochs}"]
        if "train_loss" in values:  # absent when every batch was skipped
            shown.append(f"loss {values['train_loss']:.3f}")
        shown += [f"{name} {each:.3f}" for name, each in values.items() if name.startswith("val_")]
        mark = " ↑" if end.history.best is record else ""
        recent = [each.seconds for each in end.history.of_stage(record.stage)[-RECENT:]]
        left = median(recent) * (end.epochs - record.epoch)
        # A solved head, at no rate, says nothing of the epochs of the next stage.
        eta = f"  eta {duration(left)}" if record.lr or not left else ""
        stage = f"  [{record.stage}]" if record.stage != "train" else ""
        self.progress.line(
            "  ".join(shown) + f"{mark}  lr {record.lr:g}  {duration(record.seconds)}{eta}{stage}"
        )
