"""The learning rate of every step, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from opsin.training.callback import Callback
from opsin.training.callbacks.epoch_rows import EpochRows
from opsin.training.callbacks.patient import Say, silent
from opsin.training.events import BatchEnd, EpochEnd, EpochStart, TrainEnd


class RateLog(Callback):
    """`rates.csv`: step (over all epochs), epoch, stage, rate. Complete and without doubles after
    any kill; written at the end of each epoch. A batch that was left out has its row as well.
    """

    def __init__(self, path: Path, say: Say = silent, *, wait_s: float = 5.0) -> None:
        self._rows = EpochRows(path, ("step", "epoch", "stage", "rate"), say, wait_s=wait_s)
        self._stage = ""

    def state(self) -> dict[str, Any]:
        """The rows of the present epoch."""
        return self._rows.state()

    def load(self, state: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        """Take them back."""
        self._rows.load(state)

    def on_epoch_start(self, start: EpochStart) -> None:
        """Remember the stage."""
        self._stage = start.stage

    def on_batch_end(self, end: BatchEnd) -> None:
        """One row."""
        self._rows.add(end.total, end.epoch, self._stage, end.rate)

    def on_epoch_end(self, end: EpochEnd) -> None:
        """Write them."""
        self._rows.write()

    def on_train_end(self, end: TrainEnd) -> None:
        """Write what could not be written before."""
        self._rows.write()
