"""`Step`: what the loop does with one batch. It knows neither epochs nor files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.tasks.meter import Meter
from opsin.training.processes import Processes
from opsin.training.sums import Values

BeforeUpdate = Callable[[torch.optim.Optimizer, float], None]
"""Called with an optimizer and the loss it is about to lower, once its gradients are there."""


@dataclass(frozen=True)
class Moment:
    """Where a step stands. `rate`: the learning rate; `samples`: those of the whole batch, of
    which this process may hold a part; `seed`: torch was seeded with it for this step.
    """

    epoch: int
    step: int
    steps: int
    rate: float
    samples: int
    seed: int


class Step(ABC):
    """One update from one batch, by one optimizer or by several.

    `module` is what callbacks look at. Everything that a later step depends on is in `module`,
    in the optimizers, or in `state`.
    """

    module: nn.Module

    @property
    @abstractmethod
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Every optimizer by name; their states go into the checkpoints."""

    @abstractmethod
    def begin(self, device: torch.device, processes: Processes) -> None:
        """Before the first step of a stage in this process."""

    @abstractmethod
    def learn(self, batch: Batch, moment: Moment, before_update: BeforeUpdate) -> Values:
        """Forward, loss, backward, update; values of each sample, `loss` among them. Calls
        `before_update` before each optimizer's step.
        """

    @abstractmethod
    def evaluate(self, batch: Batch, meter: Meter) -> Values:
        """Values of each sample, nothing learnt; what `meter` wants is given to it."""

    @abstractmethod
    def meter(self, names: Sequence[str]) -> Meter:
        """A new meter of those validation metrics that are not means of `evaluate`'s values."""

    @property
    def beside(self) -> Mapping[str, nn.Module]:
        """Modules with a memory of their own that are not in the model, by name."""
        return {}

    def learn_mode(self) -> None:
        """Before the steps of an epoch."""
        self.module.train()

    def evaluate_mode(self) -> None:
        """Before a validation."""
        self.module.eval()

    def state(self) -> dict[str, Any]:
        """What else a later step depends on, as JSON."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - most have nothing to take
        """Take back what `state` gave."""
