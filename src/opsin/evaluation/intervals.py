"""Intervals around measured shares and scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opsin.core.report import Value
from opsin.core.seeding import generator

LEVEL = 0.95
RESAMPLES = 1000


def share(hits: int, count: int) -> Value:
    """`hits` of `count` with its 95 % Wilson interval (Wilson, 1927).

    >>> value = share(9, 10)
    >>> round(value.low, 3), round(value.high, 3)
    (0.596, 0.982)
    """
    from scipy.stats import binomtest

    if count == 0:
        return Value(0.0, 0, 0.0, 1.0, "wilson")
    interval = binomtest(hits, count).proportion_ci(LEVEL, method="wilson")
    return Value(hits / count, count, float(interval.low), float(interval.high), "wilson")


def f1_scores(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """F1 of each class from ... K K counts (rows true, columns predicted), 0 where undefined."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    total = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    scores: NDArray[np.float64] = np.divide(
        2 * hits, total, out=np.zeros_like(hits), where=total > 0
    )
    return scores


def bootstrap_f1(confusion: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile bootstrap of F1: (low, high), each K + 1 with macro-F1 last.

    Drawing samples anew is drawing cells of the confusion matrix anew (multinomial), so the
    table of counts is enough. The draw is keyed by the counts: the same table, the same interval.
    """
    count = int(confusion.sum())
    classes = confusion.shape[0]
    if count == 0:
        return np.zeros(classes + 1), np.ones(classes + 1)
    flat = confusion.ravel()
    cells = np.flatnonzero(flat)
    draw = generator("bootstrap", flat.tobytes().hex()[:4096], count)
    scores = np.empty((RESAMPLES, classes + 1))
    for number in range(RESAMPLES):
        drawn = np.zeros(flat.size, np.int64)
        drawn[cells] = draw.multinomial(count, flat[cells] / count)
        table = drawn.reshape(confusion.shape)
        scores[number, :-1] = f1_scores(table)
        present = (table.sum(0) + table.sum(1)) > 0
        scores[number, -1] = scores[number, :-1][present].mean()
    low, high = np.quantile(scores, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def bootstrapped(value: float, count: float, low: float, high: float) -> Value:
    """A value with its bootstrap interval; none where all resamples agree, because that says that
    the sample is too small or too plain to tell, not that the value is certain.
    """
    if high - low < 1e-12:
        return Value(value, count)
    return Value(value, count, low, high, "bootstrap")
