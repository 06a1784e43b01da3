"""The events of the loop: `Event` is the loop in pseudo-code, the rest is what each one says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.training.history import EpochRecord, History


class Event(Enum):
    """The loop::

    TRAIN_START
    for each stage:
        STAGE_START              the best weights of the stage before are in the model
        for each epoch:
            EPOCH_START          may answer Scale(factor) of the rate, for this epoch,
                                 and Epochs(planned) of this stage
            for each batch:
                BATCH_START      may answer Ask.SKIP: the batch is left out
                forward, loss, backward
                UPDATE_START     gradients are there, no weight has changed yet
                clip, change the weights
                BATCH_END        may answer Ask.SAVE, Ask.STOP
                write a checkpoint, if one is due or asked for
            VALIDATION_START
            validate; keep the weights if they are the best
            VALIDATION_END
            EPOCH_END            may answer Ask.SAVE, Ask.STOP: the stage ends,
                                 and Epochs(planned) of this stage
            write a checkpoint, if one is due or asked for
    use the best weights
    TRAIN_END
    or, whenever something fails: FAILURE
    """

    TRAIN_START = "on_train_start"
    STAGE_START = "on_stage_start"
    EPOCH_START = "on_epoch_start"
    BATCH_START = "on_batch_start"
    UPDATE_START = "on_update_start"
    BATCH_END = "on_batch_end"
    VALIDATION_START = "on_validation_start"
    VALIDATION_END = "on_validation_end"
    EPOCH_END = "on_epoch_end"
    TRAIN_END = "on_train_end"
    FAILURE = "on_failure"


@dataclass(frozen=True)
class TrainStart:
    """`history` is not empty, and `step` (whole steps done, of all epochs) not 0, when a run is
    resumed; `epochs` are those of all stages.
    """

    model: nn.Module
    history: History
    epochs: int
    step: int


@dataclass(frozen=True)
class StageStart:
    """`module` is what this stage calls; `resumed`: its state comes from a checkpoint."""

    name: str
    module: nn.Module
    resumed: bool


@dataclass(frozen=True)
class EpochStart:
    """Epochs count from 1 over all stages; `in_stage`: epochs planned of this one."""

    epoch: int
    epochs: int
    stage: str
    history: History
    in_stage: int = 0


@dataclass(frozen=True)
class BatchStart:
    """Step `step` of `steps` is about to see `batch`."""

    epoch: int
    step: int
    steps: int
    batch: Batch


@dataclass(frozen=True)
class UpdateStart:
    """`module`'s gradients are there; `loss` is the mean of the batch. `optimizer` is the one
    about to step (a step may have several).
    """

    epoch: int
    step: int
    steps: int
    loss: float
    batch: Batch
    module: nn.Module
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True)
class BatchEnd:
    """Where the loop is: `step` of `steps` in `epoch` of `epochs`; the batch's mean loss (nan
    when the batch was skipped) and rate; `total`: steps done in all epochs.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    total: int
    loss: float
    rate: float


@dataclass(frozen=True)
class ValidationStart:
    """`model` may be given other weights for the time of the validation."""

    epoch: int
    model: nn.Module


@dataclass(frozen=True)
class ValidationEnd:
    """`values`: the means over the validation samples, empty when it was broken off."""

    epoch: int
    model: nn.Module
    values: Mapping[str, float]


@dataclass(frozen=True)
class EpochEnd:
    """`record` is the last of `history`."""

    record: EpochRecord
    history: History
    epochs: int


@dataclass(frozen=True)
class TrainEnd:
    """The best weights are in `model` (or the last, where that was asked for)."""

    model: nn.Module
    history: History


@dataclass(frozen=True)
class Failure:
    """`error` ends the run, also one that only interrupts it."""

    error: BaseException
    history: History
