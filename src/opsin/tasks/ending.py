"""With which function a model ends, as far as it can be told from one batch of its outputs."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

Ending = Literal["softmax", "log-softmax", "sigmoid"]

_BACKWARD: dict[str, Ending] = {
    "SoftmaxBackward0": "softmax",
    "LogSoftmaxBackward0": "log-softmax",
    "SigmoidBackward0": "sigmoid",
}
_LAYERS: dict[type[nn.Module], Ending] = {
    nn.Softmax: "softmax",
    nn.Softmax2d: "softmax",
    nn.LogSoftmax: "log-softmax",
    nn.Sigmoid: "sigmoid",
}
_THROUGH = (
    *("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Clone", "Alias"),
    *("ToCopy", "_DDPSink"),
)
"""Steps of autograd that change form and precision and nothing else."""
_SHAPES = (nn.Identity, nn.Flatten, nn.Unflatten)
_TOLERANCE = 1e-4


def ending(module: nn.Module, outputs: torch.Tensor) -> Ending | None:
    """The softmax, log-softmax or sigmoid that `outputs` came out of, or None.

    Autograd's own record decides where there is one that we can read; else the last layer, if the
    numbers fit it; else the numbers, if two samples or more all look like probabilities that sum to
    1, which logits do not by chance.
    """
    record: Any = outputs.grad_fn
    while record is not None and record.name().startswith(_THROUGH):
        record = record.next_functions[0][0] if record.next_functions else None
    if record is not None and (found := _BACKWARD.get(record.name())):
        return found
    values = outputs.detach().float()
    found = _LAYERS.get(type(_last_layer(module)))
    unread = record is None or record.name().startswith("Compiled")
    if found and unread and _fits(found, values):
        return found
    return "softmax" if len(values) > 1 and sums_to_one(values) else None


def sums_to_one(values: torch.Tensor) -> bool:
    """Whether every row of B K ... is K > 1 numbers from [0, 1] with a sum of 1."""
    if values.ndim < 2 or values.shape[1] < 2 or not in_unit(values):
        return False
    return bool(((values.float().sum(1) - 1).abs() < _TOLERANCE).all())


def in_unit(values: torch.Tensor) -> bool:
    """Whether every number is in [0, 1]; no numbers are not."""
    return values.numel() > 0 and bool(((values >= 0) & (values <= 1)).all())


def are_log_probabilities(values: torch.Tensor) -> bool:
    """Whether the exponentials of every row of B K ... sum to 1."""
    return bool((values.float().logsumexp(1).abs() < 100 * _TOLERANCE).all())


def _fits(found: Ending, values: torch.Tensor) -> bool:
    return bool((values <= 0).all()) if found == "log-softmax" else in_unit(values)


def _last_layer(module: nn.Module) -> nn.Module:
    while True:
        children = [child for child in module.children() if not isinstance(child, _SHAPES)]
        if not children:
            return module
        module = children[-1]
