"""A loss of the user's own as the loss of each sample."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from opsin.core.errors import WrongUsage

LossFunction = Callable[[Any, Any], torch.Tensor]
"""(outputs, targets) -> the mean over the batch, or B values."""


class OwnLoss:
    """`function(outputs, targets)`, a plain function or an `nn.Module` of torch, as float32 B.

    A mean over the batch stands for each of its samples, so that epoch means are weighted by
    samples. Raises `WrongUsage` for a loss that sums over the batch: it would count a sample more
    the larger its batch.
    """

    def __init__(self, function: LossFunction) -> None:
        if not callable(function):
            raise WrongUsage(
                f"a loss is a function (outputs, targets), came {type(function).__name__}",
                where="loss",
            )
        if isinstance(function, type):
            raise WrongUsage(
                f"{function.__name__} is a class", where="loss", fix=f"{function.__name__}()"
            )
        self.function = function
        self.name = _name(function)
        if getattr(function, "reduction", None) == "sum":
            raise WrongUsage(
                f'{self.name} sums over the batch (reduction="sum")',
                code="summed_loss",
                where="loss",
                fix='reduction="mean" or "none"',
            )

    def __call__(self, outputs: Any, targets: Any, count: int) -> torch.Tensor:
        """The loss of each of `count` samples. Raises `WrongUsage` for another shape."""
        if isinstance(self.function, nn.Module) and isinstance(outputs, torch.Tensor):
            self.function.to(outputs.device)
        value = self.function(outputs, targets)
        if not isinstance(value, torch.Tensor):
            raise WrongUsage(
                f"it must return a tensor that gradients can flow through, "
                f"came {type(value).__name__}",
                code="loss_not_tensor",
                where=f"loss {self.name}",
                fix="compute it with torch from the outputs, without item(), float() or numpy",
            )
        value = value if value.dtype == torch.float64 else value.float()
        if value.ndim == 0:
            return value.expand(count)
        if value.shape == (count,):
            return value
        if value.numel() == 1:
            return value.reshape(()).expand(count)
        raise self._vector(value, outputs, targets, count)

    def _vector(self, value: torch.Tensor, outputs: Any, targets: Any, count: int) -> WrongUsage:
        shape = " x ".join(map(str, value.shape))
        message = f"it returned {shape} values for a batch of {count}; wanted is one number, or "
        message += "one a sample"
        fix = "loss.mean(), or loss.flatten(1).mean(1) for one value a sample"
        sizes = [tuple(x.shape) for x in (outputs, targets) if isinstance(x, torch.Tensor)]
        if value.shape == (count, count) and sizes == [(count, 1), (count,)]:
            message += f"; outputs {count} x 1 and targets {count} were spread over one another"
            fix = "outputs[:, 0], or targets[:, None], in the loss"
        return WrongUsage(message, code="loss_not_reduced", where=f"loss {self.name}", fix=fix)


def _name(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))
