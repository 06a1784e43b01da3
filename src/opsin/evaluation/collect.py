"""Ask a model about every picture of some splits."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn

from opsin.core.batch import EpochLoader
from opsin.core.columns import Codes, Joined
from opsin.core.micro_batch import MicroBatch, batches_that_fit
from opsin.evaluation.predictions import PredictionTable
from opsin.tasks.task import Task


class Judged(EpochLoader, Protocol):
    """A loader that gives its samples in the order of `ids`."""

    @property
    def ids(self) -> Sequence[str]:
        """All source ids."""


def collect(
    module: nn.Module,
    task: Task,
    loaders: Mapping[str, Judged],
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
    splits, true = Codes(), array("q")
    rows = array("d")  # grows in place: a list of batches would be there twice at its end
    total = sum(loader.size for loader in loaders.values())
    micro = MicroBatch(say=say)
    module.eval()
    with torch.inference_mode():
        for split, loader in loaders.items():
            # Every sample, whatever share of them this process has validated.
            loader.share = (0, 1)
            at = 0
            for batch in loader.epoch(0):
                at, expected = at + len(batch), loader.ids[at : at + len(batch)]
                if tuple(expected) != batch.ids:
                    raise ValueError(f"{split}: the batches are not in the order of the ids")
                for _, outputs in batches_that_fit(
                    batch.to(device), micro, lambda p: module(p.inputs)
                ):
                    rows.frombytes(task.answer(outputs).double().cpu().numpy().tobytes())
                true.extend(batch.targets.tolist())
                splits.repeat(split, len(batch))
                on_batch(len(true), total)
    ids = Joined(loader.ids for loader in loaders.values())
    probabilities = np.frombuffer(rows, np.float64).reshape(len(ids), len(classes))
    return PredictionTable(tuple(classes), splits, ids, np.array(true, np.int64), probabilities)
