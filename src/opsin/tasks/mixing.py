"""Loss and scores of samples that were mixed with others."""

from __future__ import annotations

from dataclasses import replace

import torch

from opsin.core.batch import Batch
from opsin.core.errors import WrongUsage
from opsin.tasks.task import Task


def losses(task: Task, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The loss of each sample, float32 B: of a mixed one by both of its targets, each counted by
    its share. Source: Zhang et al., mixup (2018).

    Raises `WrongUsage` where the loss is a mean over the batch already.
    """
    own = task.loss(outputs, batch)
    if batch.mixed is None:
        return own
    if len(batch) > 1 and own.stride() == (0,):
        raise WrongUsage(
            "mixed pictures need a loss that gives a value for each sample",
            where="loss",
            fix='reduction="none", or no mixup and cutmix in --augment',
        )
    share = batch.mixed.share
    return share * own + (1 - share) * task.loss(outputs, _others(batch))


def scores(task: Task, outputs: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
    """Name to float32 B: of a mixed sample by both of its targets, each counted by its share."""
    own = task.scores(outputs, batch)
    if batch.mixed is None:
        return own
    share, others = batch.mixed.share, task.scores(outputs, _others(batch))
    return {name: share * value + (1 - share) * others[name] for name, value in own.items()}


def _others(batch: Batch) -> Batch:
    assert batch.mixed is not None
    return replace(batch, targets=batch.mixed.targets, mixed=None)
