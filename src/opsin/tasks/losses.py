"""Losses by name: functions (outputs, targets) -> the loss of each sample.

Targets are of two kinds. **Classes**, int64 B: outputs are logits B K, or B 1 where two classes
share one logit; `label_smoothing` (Szegedy et al., 2015) is the share of each label that is spread
evenly over all classes; `class_weights`, float32 K, multiply the loss of each sample by the weight
of its class. A batch's loss is the plain mean over its samples, so weights must be scaled to a mean
of 1 over the training set (`opsin.data.balance` does): dividing by the weights of each batch, as
`torch.nn.CrossEntropyLoss` does, would make micro-batches and processes learn something else than
one batch. **Values**, floats of the shape of the outputs (B, or B x ...): the mean over each
sample's values; outputs B 1 fit targets B. Losses that read values take no smoothing or weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from opsin.core.errors import WrongUsage
from opsin.core.registry import Registry

LOSSES = Registry(
    "loss",
    [
        ("cross_entropy", "opsin.tasks.losses:cross_entropy"),
        ("focal", "opsin.tasks.losses:focal"),
        ("bce", "opsin.tasks.losses:bce"),
        ("mse", "opsin.tasks.losses:mse"),
        ("mae", "opsin.tasks.losses:mae"),
        ("huber", "opsin.tasks.losses:huber"),
    ],
)

Weights = torch.Tensor | None


def cross_entropy(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Weights = None,
) -> torch.Tensor:
    """Negative log-probability of the true class in nats, float32 B."""
    outputs = _precise(outputs)
    if outputs.shape[1] == 1:
        wanted = _wanted(outputs, targets, label_smoothing)
        logits, wanted = outputs[:, 0], wanted[:, 0]
        losses = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    else:
        losses = functional.cross_entropy(
            outputs, targets, reduction="none", label_smoothing=label_smoothing
        )
    return _weighted(losses, targets, class_weights)


def focal(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Weights = None,
    gamma: float = 2.0,
) -> torch.Tensor:
    """Cross-entropy times (1 - p) ** gamma, so that what is already known counts less, float32 B.

    `gamma`: 0 (cross-entropy) or at least 1. Source: Lin et al., Focal loss (2017), with a softmax
    for more than two classes; its alpha is `class_weights`.
    """
    outputs = _precise(outputs)
    if outputs.shape[1] == 1:
        outputs = torch.cat([torch.zeros_like(outputs), outputs], dim=1)
    log_p = outputs.log_softmax(1)
    # 1 - p, without the rounding of p to 1 for a sample that is nearly right.
    rest = -torch.expm1(log_p)
    losses = -(_wanted(outputs, targets, label_smoothing) * rest**gamma * log_p).sum(1)
    return _weighted(losses, targets, class_weights)


def bce(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Weights = None,
) -> torch.Tensor:
    """Binary cross-entropy of each logit, float32 B: for classes each against all others, summed
    over the classes (torch's mean times K, so that many classes do not make it small).
    """
    return _each(
        functional.binary_cross_entropy_with_logits,
        outputs,
        targets,
        label_smoothing,
        class_weights,
        probabilities=False,
    )


def mse(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Weights = None,
) -> torch.Tensor:
    """Squared error, float32 B: for classes of the probabilities, summed over the classes (one
    probability where two classes share a logit), which is the Brier score (1950).
    """
    return _each(functional.mse_loss, outputs, targets, label_smoothing, class_weights)


def mae(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Weights = None,
) -> torch.Tensor:
    """Absolute error, float32 B: for classes of the probabilities, summed over the classes. Little
    moved by wrong labels, and slow to learn. Source: Ghosh et al. (2017).
    """
    return _each(functional.l1_loss, outputs, targets, label_smoothing, class_weights)


def huber(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Weights = None,
    delta: float = 1.0,
) -> torch.Tensor:
    """Half the squared error up to `delta`, linear beyond, float32 B. Source: Huber (1964).

    Probabilities are never more than 1 off, so for classes the default is half of `mse`.
    """

    def measure(given: torch.Tensor, wanted: torch.Tensor, reduction: str) -> torch.Tensor:
        return functional.huber_loss(given, wanted, reduction=reduction, delta=delta)

    return _each(measure, outputs, targets, label_smoothing, class_weights)


def reads_classes(outputs: torch.Tensor, targets: torch.Tensor) -> bool:
    """Whether targets are class indices beside the columns of the outputs, and not values."""
    return not targets.is_floating_point() and outputs.ndim == targets.ndim + 1


def _each(
    measure: Any,
    outputs: torch.Tensor,
    targets: torch.Tensor,
    label_smoothing: float,
    class_weights: Weights,
    *,
    probabilities: bool = True,
) -> torch.Tensor:
    outputs = _precise(outputs)
    if reads_classes(outputs, targets):
        wanted = _wanted(outputs, targets, label_smoothing)
        if probabilities:
            outputs = outputs.sigmoid() if outputs.shape[1] == 1 else outputs.softmax(1)
        losses = measure(outputs, wanted, reduction="none").sum(1)
        return _weighted(losses, targets, class_weights)
    if label_smoothing or class_weights is not None:
        raise WrongUsage("label smoothing and class weights are for classes, not for values")
    if outputs.ndim == targets.ndim + 1 and outputs.shape[-1] == 1:
        outputs = outputs[..., 0]
    if outputs.shape != targets.shape:
        raise WrongUsage(
            f"the outputs are {shape(outputs)}, the targets {shape(targets)}",
            code="wrong_shape",
            where="loss",
            fix="one output for each target value",
        )
    values: torch.Tensor = measure(outputs, targets.to(outputs.dtype), reduction="none")
    return values.flatten(1).mean(1) if values.ndim > 1 else values


def _precise(outputs: torch.Tensor) -> torch.Tensor:
    """Float32 or better: in half precision a small loss is rounded away."""
    return outputs if outputs.dtype == torch.float64 else outputs.float()


def _wanted(outputs: torch.Tensor, targets: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    """The probabilities that are asked for, B O: 1 for the true class, less the smoothing."""
    classes = max(outputs.shape[1], 2)
    if outputs.shape[1] == 1:
        hot = targets[:, None].to(outputs.dtype)
    else:
        hot = torch.zeros_like(outputs).scatter_(1, targets[:, None], 1.0)
    return hot * (1 - label_smoothing) + label_smoothing / classes


def _weighted(losses: torch.Tensor, targets: torch.Tensor, weights: Weights) -> torch.Tensor:
    return losses if weights is None else losses * weights[targets]


def shape(values: torch.Tensor) -> str:
    """Sizes in words: `32 x 10`."""
    return " x ".join(str(size) for size in values.shape) or "one number"
