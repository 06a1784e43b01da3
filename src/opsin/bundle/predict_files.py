"""Answers for files: each is decoded where a crash can be survived, then asked in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opsin.bundle.predictor import Predictor, as_chw
from opsin.core.prediction import ClassPrediction
from opsin.data.decode import Undecodable
from opsin.data.record import FileRecord
from opsin.data.scan import scan

BATCH = 32


@dataclass(frozen=True)
class Refused:
    """A file that could not be used, and why."""

    source_id: str
    error: Undecodable


def predict_files(
    predictor: Predictor,
    files: Sequence[tuple[str, Path]],
    *,
    on_file: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> list[ClassPrediction | Refused]:
    """An answer for each (source id, path), in their order."""
    rows: dict[int, NDArray[np.float32]] = {}
    waiting: list[tuple[int, NDArray[np.uint8]]] = []

    def ask() -> None:
        if waiting:
            answers = predictor.probabilities(as_chw([image for _, image in waiting]))
            rows.update(zip((number for number, _ in waiting), answers, strict=True))
            waiting.clear()

    def keep(number: int, image: NDArray[np.uint8]) -> None:
        waiting.append((number, image))
        if len(waiting) >= BATCH:
            ask()

    spec = predictor.bundle.spec
    records = scan(files, spec=spec, on_pixels=keep, progress=on_file, workers=workers)
    ask()
    return [_answer(predictor, record, rows.get(n)) for n, record in enumerate(records)]


def _answer(
    predictor: Predictor, record: FileRecord, row: NDArray[np.float32] | None
) -> ClassPrediction | Refused:
    if row is None:
        error = Undecodable(
            record.error_message, code=record.error or "image_undecodable", where=record.source_id
        )
        return Refused(record.source_id, error)
    return ClassPrediction(
        record.source_id,
        predictor.bundle.classes,
        tuple(float(value) for value in row),
        tuple(str(note) for note in record.notes),
    )
