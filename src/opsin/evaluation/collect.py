"""Ask a model about every picture of some splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from opsin.core.batch import EpochLoader
from opsin.core.micro_batch import MicroBatch, batches_that_fit
from opsin.evaluation.predictions import PredictionTable
from opsin.tasks.task import Task


def collect(
    module: nn.Module,
    task: Task,
    loaders: Mapping[str, EpochLoader],
    classes: Sequence[str],
    *,
    device: torch.device,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> PredictionTable:
    """Predictions of `module` (in evaluation mode) for each split, in the order of the loaders.

    `module` reads what the loaders give; the loaders must not be augmented. A batch that does not
    fit into memory is cut, and `say` is told. Raises `NotEnoughMemory` when one sample is too much.
    """
    splits: list[str] = []
    ids: list[str] = []
    true: list[int] = []
    rows: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []
    total = sum(loader.size for loader in loaders.values())
    micro = MicroBatch(say=say)
    module.eval()
    with torch.inference_mode():
        for split, loader in loaders.items():
            # Every sample, whatever share of them this process has validated.
            loader.share = (0, 1)
            for batch in loader.epoch(0):
                for _, outputs in batches_that_fit(
                    batch.to(device), micro, lambda p: module(p.inputs)
                ):
                    rows.append(task.answer(outputs).double().cpu().numpy())
                true += batch.targets.tolist()
                ids += batch.ids
                splits += [split] * len(batch)
                on_batch(len(ids), total)
    probabilities = np.concatenate(rows) if rows else np.zeros((0, len(classes)))
    return PredictionTable(
        tuple(classes), tuple(splits), tuple(ids), np.array(true, np.int64), probabilities
    )
