"""What each epoch gave, and which was best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from opsin.core.errors import NumbersWrong
from opsin.core.run_dir import read_rows, write_rows
from opsin.training.monitor import Monitor

COLUMNS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
_OTHER = ("epoch", "stage", "lr", "seconds")


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, counted from 1 over all stages. `values` are means over samples."""

    epoch: int
    stage: str
    lr: float
    values: dict[str, float]
    seconds: float


Best = EpochRecord | None


@dataclass
class History:
    """All epochs so far. The best is derived from them, so nothing else has to be saved."""

    monitor: Monitor
    records: list[EpochRecord] = field(default_factory=list)

    @property
    def best(self) -> EpochRecord | None:
        """The best epoch of all stages by the first monitor."""
        return self.best_by(self.monitor)

    def best_by(self, monitor: Monitor, records: Sequence[EpochRecord] | None = None) -> Best:
        """The first epoch that no later one beats, of those that have the value."""
        best: Best = None
        for record in self.records if records is None else records:
            value = record.values.get(monitor.name)
            if value is not None and (
                best is None or monitor.better(value, best.values[monitor.name])
            ):
                best = record
        return best

    def of_stage(self, name: str) -> list[EpochRecord]:
        """The epochs of one stage."""
        return [record for record in self.records if record.stage == name]

    def since_best(self, monitor: Monitor) -> int:
        """Epochs of the present stage since `monitor` had its best value."""
        if not self.records:
            return 0
        best = self.best_by(monitor, self.of_stage(self.records[-1].stage))
        return self.records[-1].epoch - best.epoch if best else 0

    def write(self, path: Path) -> None:
        """`history.csv`: columns epoch, stage, lr, the means, seconds."""
        extra = [k for k in (self.records[0].values if self.records else {}) if k not in COLUMNS]
        names = [*COLUMNS, *extra]
        rows = [
            [
                record.epoch,
                record.stage,
                f"{record.lr:g}",
                *(f"{record.values[name]:.6f}" if name in record.values else "" for name in names),
                f"{record.seconds:.3f}",
            ]
            for record in self.records
        ]
        write_rows(path, ["epoch", "stage", "lr", *names, "seconds"], rows)

    @classmethod
    def read(cls, monitor: Monitor, path: Path) -> History:
        """The history in a file that `write` made; a value that is absent or not finite is not
        among the `values`. Raises `KeyError`, `TypeError`, `ValueError`, `OSError`.
        """
        records = []
        for row in read_rows(path):
            cells = {name: float(row[name]) for name in row if name not in _OTHER and row[name]}
            values = {name: value for name, value in cells.items() if math.isfinite(value)}
            epoch, lr, seconds = int(row["epoch"]), float(row["lr"]), float(row["seconds"])
            records.append(EpochRecord(epoch, row["stage"], lr, values, seconds))
        return cls(monitor, records)

    def to_list(self) -> list[dict[str, Any]]:
        """As JSON."""
        return [asdict(record) for record in self.records]

    @classmethod
    def from_list(cls, monitor: Monitor, rows: Sequence[dict[str, Any]]) -> History:
        """The inverse of `to_list`."""
        return cls(monitor, [EpochRecord(**row) for row in rows])


def refuse_nan(record: EpochRecord, monitors: Sequence[str]) -> None:
    """Raise `NumbersWrong` when a loss or a monitored value of an epoch is not finite. Another
    metric may be: some are not defined for every set of answers.
    """
    for name, value in record.values.items():
        if not math.isfinite(value) and (name in monitors or name in ("train_loss", "val_loss")):
            raise NumbersWrong(
                f"{name} became {value} at epoch {record.epoch}; the last checkpoint is kept",
                code="diverged",
                fix="a lower rate (--lr), or look at the pictures with opsin check",
            )
