"""One line an epoch that stays, and a bar while it runs."""

from __future__ import annotations

import time

from opsin.core.progress import Progress
from opsin.core.words import duration
from opsin.training.callback import Ask, BatchRecord, Callback
from opsin.training.history import EpochRecord, History


class EpochLines(Callback):
    """A line: `epoch 3/20  loss 0.412  val_loss 0.390  val_accuracy 0.870 ↑  lr 0.001  1.2 s  eta
    20.4 s`.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._epochs = 0
        self._started = time.monotonic()
        self._first = 1

    def on_train_start(self, history: History, epochs: int) -> None:
        """Remember where this process began."""
        self._epochs = epochs
        self._first = len(history.records) + 1
        self._started = time.monotonic()

    def on_batch_end(self, record: BatchRecord) -> None:
        """Move the bar."""
        phase = f"epoch {record.epoch}/{record.epochs}  loss {record.loss:.3f}"
        # The bar is named by its epoch, so that a new loss does not start a new bar.
        self.progress.step(phase.partition("  ")[0], record.step, record.steps)

    def on_epoch_end(self, record: EpochRecord, history: History) -> Ask | None:
        """Print the line; the arrow marks the best epoch so far."""
        values = record.values
        shown = [
            f"epoch {record.epoch}/{self._epochs}",
            f"loss {values['train_loss']:.3f}",
            *(f"{name} {value:.3f}" for name, value in values.items() if name.startswith("val_")),
        ]
        mark = " ↑" if history.best is record else ""
        done = record.epoch - self._first + 1
        left = (time.monotonic() - self._started) / done * (self._epochs - record.epoch)
        stage = f"  [{record.stage}]" if record.stage != "train" else ""
        self.progress.line(
            "  ".join(shown)
            + f"{mark}  lr {record.lr:g}  {duration(record.seconds)}  eta {duration(left)}{stage}"
        )
        return None
