"""The numbers of a classifier from what it answered; the loop and the report use the same."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def sample_losses(probabilities: Floats, true: Ints) -> Floats:
    """Negative log-probability of the true class in nats, N, from N K; at most 34.5 (1e-15)."""
    losses: Floats = -np.log(np.clip(probabilities[np.arange(len(true)), true], 1e-15, 1.0))
    return losses


def log_loss(losses: Floats) -> float:
    """The mean of `sample_losses`, exactly rounded, so that their order does not matter."""
    return math.fsum(losses) / len(losses) if len(losses) else math.nan


def macro_f1(true: Ints, predicted: Ints) -> float:
    """The plain mean of F1 over the classes that occur among `true` or `predicted`."""
    from sklearn.metrics import f1_score

    present = np.union1d(true, predicted)
    return float(f1_score(true, predicted, labels=present, average="macro", zero_division=0))


def each_class(true: Ints, predicted: Ints, classes: int) -> dict[str, Floats]:
    """`precision`, `recall` and `f1` of each class, K; 0 where one is not defined."""
    from sklearn.metrics import precision_recall_fscore_support

    found = precision_recall_fscore_support(
        true, predicted, labels=list(range(classes)), zero_division=0
    )
    return dict(zip(("precision", "recall", "f1"), found, strict=False))
