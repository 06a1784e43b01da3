"""Batches for a trial: more of them than an epoch has, or of a size of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import torch

from opsin.core.batch import Batch, EpochLoader
from opsin.core.errors import DataRefused


def endless(loader: EpochLoader) -> Iterator[Batch]:
    """The batches of epoch 1, then of epoch 2, and so on. Raises `DataRefused` for an empty one."""
    for epoch in count(1):
        empty = True
        for batch in loader.epoch(epoch):
            empty = False
            yield batch
        if empty:
            raise DataRefused("the loader gives no batch", code="loader_ended")


def batch_of(pool: Batch, samples: int) -> Batch:
    """`samples` samples, those of `pool` again and again."""
    rows = torch.arange(samples) % len(pool)
    ids = tuple(pool.ids[row] for row in rows.tolist())
    return Batch(pool.inputs[rows], _rows(pool.targets, rows), ids)


def _rows(targets: Any, rows: torch.Tensor) -> Any:
    if isinstance(targets, dict):
        return {name: _rows(value, rows) for name, value in targets.items()}
    if isinstance(targets, tuple):
        return tuple(_rows(value, rows) for value in targets)
    if isinstance(targets, Sequence):
        return [targets[row] for row in rows.tolist()]
    return targets[rows]
