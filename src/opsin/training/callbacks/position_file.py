"""The step that a run has reached, for the start that finds it killed."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import BinaryIO

from opsin.training.callback import Callback
from opsin.training.events import BatchEnd, Failure, TrainEnd, TrainStart

_LINE = re.compile(rb"step +(\d+) epoch +(\d+)\n")


class PositionFile(Callback):
    """Overwrites one line of fixed width after each step: `step 840 epoch 3`, with spaces before
    the numbers. It is not flushed to the disk: it survives a kill, and only tells people, so an
    error never matters. A run that ends takes it away.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def on_train_start(self, start: TrainStart) -> None:
        """Open it; what it says stays until the first step."""
        with contextlib.suppress(OSError):
            self.path.touch()
            self._file = self.path.open("r+b", buffering=0)

    def on_batch_end(self, end: BatchEnd) -> None:
        """Say where the run is."""
        if self._file:
            with contextlib.suppress(OSError):
                self._file.seek(0)
                self._file.write(b"step %12d epoch %8d\n" % (end.total, end.epoch))

    def on_train_end(self, end: TrainEnd) -> None:
        """There is nothing left to go on with."""
        self._close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def on_failure(self, failure: Failure) -> None:
        """Keep what it says."""
        self._close()

    def _close(self) -> None:
        if self._file:
            with contextlib.suppress(OSError):
                self._file.close()
        self._file = None


def read_position(path: Path) -> int | None:
    """The steps that a run had done when it was killed; None where no file says so."""
    try:
        found = _LINE.match(path.read_bytes())
    except OSError:
        return None
    return int(found[1]) if found else None
