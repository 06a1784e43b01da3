"""L1 and L2: the gradient of a price on large weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


@torch.no_grad()
def add_penalties(parameters: Iterable[nn.Parameter], *, l1: float, l2: float) -> None:
    """Add to the gradients what `l1 * sum(|w|) + l2 * sum(w^2)` in the loss would have added.

    Of parameters with more than one dimension that learn: biases and norms pay nothing, as with
    weight decay. `l2` is that of Keras, `l2 * sum(w^2)` (its gradient is `2 * l2 * w`), twice the
    `weight_decay` of torch's SGD. To be called once a step, with the gradients of the whole step
    and before they are clipped; the loss in the history stays that of the task alone.
    """
    if not l1 and not l2:
        return
    for parameter in parameters:
        if parameter.ndim <= 1 or not parameter.requires_grad:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if l1:
            parameter.grad.add_(parameter.sign(), alpha=l1)
        if l2:
            parameter.grad.add_(parameter, alpha=2 * l2)
