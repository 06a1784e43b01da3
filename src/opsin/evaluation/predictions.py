"""`predictions.csv`: one row an image. Every metric is computed from it and from nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opsin.core.run_dir import read_rows, write_rows


@dataclass(frozen=True)
class PredictionTable:
    """`ids` N; `true` int N; `probabilities` float N K; `split` N names. `classes` K names."""

    classes: tuple[str, ...]
    split: tuple[str, ...]
    ids: tuple[str, ...]
    true: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each row, int N."""
        chosen: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return chosen

    @property
    def loss(self) -> NDArray[np.float64]:
        """Negative log-probability of the true class in nats, N; at most 34.5 (1e-15)."""
        chosen = self.probabilities[np.arange(len(self.true)), self.true]
        return -np.log(np.clip(chosen, 1e-15, 1.0))

    def rows(self, split: str) -> NDArray[np.int64]:
        """Row numbers of one split."""
        return np.flatnonzero(np.array(self.split) == split)

    @property
    def splits(self) -> list[str]:
        """Names of the splits, in the order of their first row."""
        return list(dict.fromkeys(self.split))

    def write(self, path: Path) -> None:
        """Columns split, path, true, predicted, loss, p:<class>...; class names, not indices."""
        header = ["split", "path", "true", "predicted", "loss", *(f"p:{c}" for c in self.classes)]
        columns = zip(
            self.split,
            self.ids,
            self.true,
            self.predicted,
            self.loss,
            self.probabilities,
            strict=True,
        )
        rows = (
            [
                split,
                source_id,
                self.classes[true],
                self.classes[predicted],
                f"{loss:.6g}",
                *(f"{p:.9g}" for p in row),
            ]
            for split, source_id, true, predicted, loss, row in columns
        )
        write_rows(path, header, rows)

    @classmethod
    def read(cls, path: Path, classes: tuple[str, ...]) -> PredictionTable:
        """The table in a file that `write` made."""
        rows = read_rows(path)
        number = {name: index for index, name in enumerate(classes)}
        return cls(
            classes=classes,
            split=tuple(row["split"] for row in rows),
            ids=tuple(row["path"] for row in rows),
            true=np.array([number[row["true"]] for row in rows], np.int64),
            probabilities=np.array(
                [[float(row[f"p:{name}"]) for name in classes] for row in rows], np.float64
            ).reshape(len(rows), len(classes)),
        )
