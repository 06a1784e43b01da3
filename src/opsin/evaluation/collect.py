"""Ask a model about every picture of some splits."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from opsin.core.batch import EpochLoader
from opsin.core.columns import Codes, Texts
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
    splits, ids, true = Codes(), Texts(), array("q")
    rows = array("d")  # grows in place: a list of batches would be there twice at its end
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
                    rows.frombytes(task.answer(outputs).double().cpu().numpy().tobytes())
                true.extend(batch.targets.tolist())
                ids.extend(batch.ids)
                splits.repeat(split, len(batch))
                on_batch(len(ids), total)
    probabilities = np.frombuffer(rows, np.float64).reshape(len(ids), len(classes))
    return PredictionTable(tuple(classes), splits, ids, np.array(true, np.int64), probabilities)
