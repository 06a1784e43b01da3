"""What each epoch gave, and which was best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from opsin.core.run_dir import read_rows, write_rows

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


@dataclass
class History:
    """All epochs so far. The best is derived from them, so nothing else has to be saved."""

    monitor: str
    records: list[EpochRecord] = field(default_factory=list)

    @property
    def best(self) -> EpochRecord | None:
        """The first epoch with the best monitored value, of those that have one."""
        sign = -1 if self.monitor.endswith("loss") else 1
        known = [record for record in self.records if self.monitor in record.values]
        return max(known, key=lambda r: sign * r.values[self.monitor], default=None)

    @property
    def since_best(self) -> int:
        """Epochs of the present stage since it had its best value."""
        if not self.records:
            return 0
        sign = -1 if self.monitor.endswith("loss") else 1
        stage = [r for r in self.records if r.stage == self.records[-1].stage]
        best = max(stage, key=lambda r: sign * r.values[self.monitor])
        return self.records[-1].epoch - best.epoch

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
    def read(cls, monitor: str, path: Path) -> History:
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
    def from_list(cls, monitor: str, rows: Sequence[dict[str, Any]]) -> History:
        """The inverse of `to_list`."""
        return cls(monitor, [EpochRecord(**row) for row in rows])
