"""What the losses that we know read: logits, probabilities, log-probabilities or values."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from opsin.tasks import losses
from opsin.tasks.losses import reads_classes

Reads = Literal["softmax logits", "sigmoid logits", "probabilities", "log-probabilities", "values"]

_READS: dict[Any, Reads] = {
    nn.CrossEntropyLoss: "softmax logits",
    functional.cross_entropy: "softmax logits",
    nn.NLLLoss: "log-probabilities",
    functional.nll_loss: "log-probabilities",
    nn.BCEWithLogitsLoss: "sigmoid logits",
    functional.binary_cross_entropy_with_logits: "sigmoid logits",
    nn.MultiLabelSoftMarginLoss: "sigmoid logits",
    nn.BCELoss: "probabilities",
    functional.binary_cross_entropy: "probabilities",
    nn.MSELoss: "values",
    functional.mse_loss: "values",
    nn.L1Loss: "values",
    functional.l1_loss: "values",
    nn.SmoothL1Loss: "values",
    functional.smooth_l1_loss: "values",
    nn.HuberLoss: "values",
    functional.huber_loss: "values",
    losses.cross_entropy: "softmax logits",
    losses.focal: "softmax logits",
    losses.bce: "sigmoid logits",
}
_OURS = (losses.mse, losses.mae, losses.huber)


def underlying(loss: Callable[..., Any]) -> Callable[..., Any]:
    """The function below `functools.partial`."""
    while isinstance(loss, partial):
        loss = loss.func
    return loss


def is_ours(loss: Callable[..., Any]) -> bool:
    """Whether it is one of `LOSSES`, which see to shapes and types of targets themselves."""
    return underlying(loss) in (losses.cross_entropy, losses.focal, losses.bce, *_OURS)


def what_it_reads(
    loss: Callable[..., Any], outputs: torch.Tensor, targets: torch.Tensor
) -> Reads | None:
    """What `loss` takes the outputs for; None for a function that is not known."""
    function = underlying(loss)
    if function in _OURS:
        return "softmax logits" if reads_classes(outputs, targets) else "values"
    if isinstance(function, nn.Module):
        return _READS.get(type(function))
    return _READS.get(function)
