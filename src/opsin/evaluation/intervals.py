"""Intervals around measured shares and scores."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from opsin.core.report import Value
from opsin.core.seeding import generator
from opsin.tasks.class_scores import each_class, macro_f1

LEVEL = 0.95
RESAMPLES = 1000
_Z = NormalDist().inv_cdf(0.5 + LEVEL / 2)


def share(hits: int, count: int) -> Value:
    """`hits` of `count` with its 95 % Wilson interval (Wilson, 1927), by his formula: scipy.stats
    has it, and takes a second to be imported.

    >>> value = share(9, 10)
    >>> round(value.low, 3), round(value.high, 3)
    (0.596, 0.982)
    """
    if count == 0:
        return Value(0.0, 0, 0.0, 1.0, "wilson")
    p, spread = hits / count, _Z * _Z / count
    middle, half = p + spread / 2, math.sqrt(spread * (p * (1 - p) + spread / 4))
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    # Exact at the ends, where rounding may leave the value just outside.
    return Value(p, count, low if hits else 0.0, high if hits < count else 1.0, "wilson")


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
        scores[number, :-1] = each_class(table)["f1"]
        scores[number, -1] = macro_f1(table)
    low, high = np.quantile(scores, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def bootstrapped(value: float, count: float, low: float, high: float) -> Value:
    """A value with its bootstrap interval; none where all resamples agree, because that says that
    the sample is too small or too plain to tell, not that the value is certain.
    """
    if high - low < 1e-12:
        return Value(float(value), count)
    return Value(float(value), count, float(low), float(high), "bootstrap")
