"""Keep `history.csv` up to date."""

from __future__ import annotations

from pathlib import Path

from opsin.training.callback import Ask, Callback
from opsin.training.history import EpochRecord, History


class HistoryFile(Callback):
    """Writes the whole file after each epoch, atomically."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_epoch_end(self, record: EpochRecord, history: History) -> Ask | None:
        """Write it."""
        history.write(self.path)
        return None
