"""Ask a model about every picture of some splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.evaluation.predictions import PredictionTable
from opsin.tasks.task import Task


class EpochLoader(Protocol):
    """What gives batches: of pictures, or of features."""

    @property
    def size(self) -> int:
        """Samples in an epoch."""

    def plan(self, epoch: int) -> list[list[int]]:
        """Positions of each batch."""

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches."""


def collect(
    module: nn.Module,
    task: Task,
    loaders: Mapping[str, EpochLoader],
    classes: Sequence[str],
    *,
    device: torch.device,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> PredictionTable:
    """Predictions of `module` (in evaluation mode) for each split, in the order of the loaders.

    `module` reads what the loaders give; the loaders must not be augmented.
    """
    splits: list[str] = []
    ids: list[str] = []
    true: list[int] = []
    rows: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []
    total = sum(loader.size for loader in loaders.values())
    module.eval()
    with torch.inference_mode():
        for split, loader in loaders.items():
            for batch in loader.epoch(0):
                answers = task.answer(module(batch.inputs.to(device)))
                rows.append(answers.double().cpu().numpy())
                true += batch.targets.tolist()
                ids += batch.ids
                splits += [split] * len(batch)
                on_batch(len(ids), total)
    probabilities = np.concatenate(rows) if rows else np.zeros((0, len(classes)))
    return PredictionTable(
        tuple(classes), tuple(splits), tuple(ids), np.array(true, np.int64), probabilities
    )
