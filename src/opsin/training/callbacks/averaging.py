"""Judge and keep an average of the weights instead of the last ones."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from opsin.training.callback import Callback
from opsin.training.events import (
    BatchEnd,
    Failure,
    StageStart,
    TrainEnd,
    TrainStart,
    ValidationEnd,
    ValidationStart,
)


class Averaging(Callback):
    """A moving average of the weights after each step: `average = decay * average + (1 - decay) *
    weights`, from the weights after the stage's first step on; with `decay` None the equal average
    of all steps of the stage. A batch that was left out counts for nothing.

    Validation sees the average, so the best weights that are kept are averages; training goes on
    from the weights as they were, to the bit. Float buffers (batch-norm's running statistics) are
    averaged like weights: they then belong to the same stretch of steps as the weights beside
    them, and no pass over the data is needed to make them anew. Counters stay the model's own.
    With `at_end` the last average is in the model after TRAIN_END, for a run that ends with the
    last weights and not with the best.

    Costs a copy of the weights, a second one during validation. Every process of a run needs it.
    Sources: Polyak and Juditsky, Acceleration of stochastic approximation by averaging (1992);
    Izmailov et al., Averaging weights leads to wider optima (2018); `torch.optim.swa_utils` does
    the arithmetic.
    """

    def __init__(self, decay: float | None, *, at_end: bool = False) -> None:
        self.at_end = at_end
        made: Any = get_swa_multi_avg_fn if decay is None else partial(get_ema_multi_avg_fn, decay)
        self._add = made()
        self._count = 0
        self._model: nn.Module | None = None
        self._live: dict[str, torch.Tensor] = {}
        self._means: dict[str, torch.Tensor] = {}
        self._raw: dict[str, torch.Tensor] = {}

    def state(self) -> dict[str, Any]:
        """The steps that are in the average."""
        return {"count": self._count}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The average, by the names of the whole model."""
        return dict(self._means)

    def load(self, state: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        """Take both back."""
        self._count, self._means = state["count"], dict(tensors)

    def on_train_start(self, start: TrainStart) -> None:
        """Remember the model that the names are of."""
        self._model = start.model

    def on_stage_start(self, start: StageStart) -> None:
        """Average what this stage calls; begin anew unless it goes on."""
        self._live = self._tensors_of(start.module)
        if start.resumed and self._means.keys() == self._live.keys():
            # A checkpoint gives them back in an order of its own.
            self._means = {k: self._means[k].to(live.device) for k, live in self._live.items()}
        else:
            self._count, self._means = 0, {}

    def on_batch_end(self, end: BatchEnd) -> None:
        """Take in the weights after a step."""
        if math.isnan(end.loss) or not self._live:
            return
        if self._count:
            self._add(list(self._means.values()), list(self._live.values()), self._count)
        else:
            self._means = {name: tensor.clone() for name, tensor in self._live.items()}
        self._count += 1

    def on_validation_start(self, start: ValidationStart) -> None:
        """Put the average into the model."""
        if self._count:
            self._raw = {name: tensor.clone() for name, tensor in self._live.items()}
            _copy(self._means, self._live)

    def on_validation_end(self, end: ValidationEnd) -> None:
        """Put the weights back."""
        self._put_back()

    def on_failure(self, failure: Failure) -> None:
        """Put the weights back when a validation failed."""
        self._put_back()

    def on_train_end(self, end: TrainEnd) -> None:
        """End with the average, where that is wanted."""
        if self.at_end:
            _copy(self._means, end.model.state_dict())

    def _put_back(self) -> None:
        _copy(self._raw, self._live)
        self._raw = {}

    def _tensors_of(self, module: nn.Module) -> dict[str, torch.Tensor]:
        """The float weights and buffers of `module`, detached, by the names of the whole model."""
        own = {id(tensor) for tensor in module.state_dict(keep_vars=True).values()}
        named = self._model.state_dict(keep_vars=True) if self._model else {}
        return {
            name: tensor.detach()
            for name, tensor in named.items()
            if id(tensor) in own and tensor.is_floating_point()
        }


@torch.no_grad()
def _copy(source: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> None:
    for name, tensor in source.items():
        target[name].copy_(tensor)
