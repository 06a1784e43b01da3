"""Keep `history.csv` up to date."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

from opsin.core.run_dir import read_rows
from opsin.core.words import plural
from opsin.training.callback import Callback
from opsin.training.callbacks.patient import Patient, Say, silent, sweep
from opsin.training.events import EpochEnd, TrainStart
from opsin.training.history import EpochRecord, History


class HistoryFile(Callback):
    """Writes the whole file after each epoch, atomically; training never stops for it.

    The truth is the history in the checkpoints. When a run is resumed, a file that does not begin
    with it is copied aside as `history.csv.damaged` and written again, and `say` is told; rows
    that come after it were written before the checkpoint that was lost, and go silently.
    `wait_s`: seconds to wait where the file cannot be written.
    """

    def __init__(self, path: Path, say: Say = silent, *, wait_s: float = 5.0) -> None:
        self.path = path
        self._say = say
        self._patient = Patient(path, say, wait_s=wait_s)

    def on_train_start(self, start: TrainStart) -> None:
        """Compare the file of a resumed run with the history."""
        sweep(self.path.parent, self.path.name)
        if not start.step:
            return
        records = start.history.records
        lost = _lost(self.path, records)
        if lost is None:
            self._say(self._restored("was damaged", len(records), self._set_aside()))
        elif lost:
            aside = self._set_aside() if self.path.exists() else ""
            self._say(self._restored("was damaged" if aside else "was missing", lost, aside))
        if records:
            self._write(start.history)

    def on_epoch_end(self, end: EpochEnd) -> None:
        """Write it."""
        self._write(end.history)

    def _write(self, history: History) -> None:
        self._patient.write(lambda: history.write(self.path))

    def _restored(self, what: str, rows: int, aside: str) -> str:
        kept = f" (kept as {aside})" if aside else ""
        return f"{self.path.name} {what}{kept}; {plural(rows, 'row')} restored from the checkpoint"

    def _set_aside(self) -> str:
        aside = self.path.with_name(f"{self.path.name}.damaged")
        # A copy that cannot be made must not stop the training.
        return (
            aside.name
            if Patient(aside, self._say, wait_s=0).write(lambda: shutil.copyfile(self.path, aside))
            else ""
        )


def _lost(path: Path, records: list[EpochRecord]) -> int | None:
    """How many of `records` are not in the file as it was written; None when it is no history."""
    try:
        rows = read_rows(path)
    except FileNotFoundError:
        return len(records)
    except (OSError, csv.Error, ValueError):
        return None
    if rows and not {"epoch", "stage", "lr", "seconds"} <= rows[0].keys():
        return None
    pairs = zip(rows, records, strict=False)
    return len(records) - sum(_same(row, record) for row, record in pairs)


def _same(row: Mapping[str, str], record: EpochRecord) -> bool:
    """Whether `row` is `record` as far as its digits go."""
    try:
        return (
            int(row["epoch"]) == record.epoch
            and row["stage"] == record.stage
            and math.isclose(float(row["lr"]), record.lr, rel_tol=1e-5)
            and all(abs(float(row[name]) - value) < 1e-6 for name, value in record.values.items())
        )
    except (KeyError, TypeError, ValueError):
        return False
