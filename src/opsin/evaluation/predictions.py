"""`predictions.csv`: one row an image. Every metric is computed from it and from nothing else."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opsin.core.columns import Codes, Texts
from opsin.core.run_dir import write_rows
from opsin.tasks.class_scores import sample_losses


@dataclass(frozen=True)
class PredictionTable:
    """`ids` N; `true` int N; `probabilities` float N K; `split` N names. `classes` K names."""

    classes: tuple[str, ...]
    split: Codes
    ids: Sequence[str]
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
        return sample_losses(self.probabilities, self.true)

    def rows(self, split: str) -> NDArray[np.int64]:
        """Row numbers of one split."""
        return self.split.where(split)

    @property
    def splits(self) -> list[str]:
        """Names of the splits, in the order of their first row."""
        return list(self.split.values)

    def write(self, path: Path) -> None:
        """Columns split, path, true, predicted, loss, p:<class>...; class names, not indices."""
        header = ["split", "path", "true", "predicted", "loss", *(f"p:{c}" for c in self.classes)]
        write_rows(path, header, self._cells())

    def _cells(self) -> Iterator[list[str]]:
        predicted, loss = self.predicted, self.loss
        for at, (split, source_id) in enumerate(zip(self.split, self.ids, strict=True)):
            yield [
                split,
                source_id,
                self.classes[self.true[at]],
                self.classes[predicted[at]],
                f"{loss[at]:.6g}",
                *(f"{p:.9g}" for p in self.probabilities[at].tolist()),
            ]

    @classmethod
    def read(cls, path: Path, classes: tuple[str, ...] | None = None) -> PredictionTable:
        """The table in a file that `write` made; without `classes` those of the file, in its order.

        Raises `KeyError`, `ValueError`, `OSError` when it is not whole.
        """
        split, ids, true = Codes(), Texts(), array("q")
        flat = array("d")  # as text or as Python's numbers a large table would not fit into memory
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            column = {name: at for at, name in enumerate(header)}
            places = [column[name] for name in ("split", "path", "true")]
            known = classes or tuple(name[2:] for name in header if name.startswith("p:"))
            number = {name: index for index, name in enumerate(known)}
            chosen = [column[f"p:{name}"] for name in known]
            for row in reader:
                if len(row) != len(header):
                    raise ValueError(f"line {reader.line_num}: {len(row)} of {len(header)} columns")
                split.append(row[places[0]])
                ids.append(row[places[1]])
                true.append(number[row[places[2]]])
                flat.extend(float(row[place]) for place in chosen)
        return cls(
            classes=known,
            split=split,
            ids=ids,
            true=np.array(true, np.int64),
            probabilities=np.frombuffer(flat, np.float64).reshape(len(ids), len(known)),
        )
