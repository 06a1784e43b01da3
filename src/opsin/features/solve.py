"""A linear head solved at once: logistic regression, its regularisation chosen on held-out rows.

Source: the linear probe of Kornblith et al., Do better ImageNet models transfer better? (2019),
with scikit-learn's L-BFGS.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

GRID = tuple(float(10 ** (half / 2)) for half in range(-10, 3))
"""C from strong to weak: 1e-5 to 10 in half decades."""
PATIENCE = 4
"""Values of C in a row that make the loss larger, after which weaker ones are not tried. By
accuracy all are: the strongest say the commonest class of everything, and the next few still do."""
TOLERANCE = 1e-5
"""The largest part of the mean loss's gradient where the search ends."""
ITERATIONS, ROUNDS = 100, 5
"""Iterations between two looks at the clock and at Ctrl-C, and how often; then it is enough."""
DOUBLE_VALUES = 1 << 27
"""Up to so many values (1 GiB) are solved in float64, more in float32."""
FLAT = 1e-6
"""A feature that varies less than this share of its size is a constant with rounding."""
ABSENT = 20.0
"""How far below the others the logit of a class without a training row lies."""

Floats = NDArray[np.float32] | NDArray[np.float64]
Chooser = Literal["loss", "accuracy"]


@dataclass(frozen=True)
class Tried:
    """One value of C. `loss`, `accuracy`: on the held-out rows; `converged`: whether the gradient
    came below `TOLERANCE`.
    """

    c: float
    loss: float
    accuracy: float
    iterations: int
    converged: bool


@dataclass(frozen=True)
class Solution:
    """`weight` O F and `bias` O, float64, for features as they are; O is 1 for two classes, else
    K. `c`: chosen among `tried`.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    c: float
    tried: tuple[Tried, ...]


def solve(
    features: Floats,
    targets: NDArray[np.int64],
    val_features: Floats,
    val_targets: NDArray[np.int64],
    classes: int,
    *,
    class_weights: Sequence[float] | None = None,
    row_weights: NDArray[np.float64] | None = None,
    by: Chooser = "loss",
    grid: Sequence[float] = GRID,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Solution:
    """The linear head of `classes` classes that explains N F `features` by N class indices, with
    the C of `grid` that is best on the held-out rows; of equal ones the smallest, which is the
    strongest regularisation: C times the sum of the rows' losses, plus half the squared weights.

    Features are standardised for the search, and the scaling is folded back. `class_weights`, K:
    of each row's loss, here and on the held-out rows. `row_weights`, N: on top of them, here only.
    Between two values of C the search starts from the last solution.

    Raises `ValueError` where the rows are of fewer than two classes.
    """
    scale = _Scale.of(features)
    rows = scale(features)
    weights = np.ones(len(targets)) if row_weights is None else np.asarray(row_weights, np.float64)
    of_class = np.ones(classes) if class_weights is None else np.asarray(class_weights, np.float64)
    weights = weights * of_class[targets]
    model = _model()
    tried: list[Tried] = []
    best: tuple[float, Solution] | None = None
    idle = 0
    on_step(0, len(grid))
    for number, c in enumerate(sorted(grid), start=1):
        model.set_params(C=c)
        done = 0
        iterations, converged = 0, False
        while not converged and done < ROUNDS:
            iterations, converged = _fit(model, rows, targets, weights, iterations)
            done += 1
            on_step(number - 1, len(grid))
        weight, bias = scale.folded(*_outputs(model, classes))
        loss, accuracy = judge(weight, bias, val_features, val_targets, of_class)
        tried.append(Tried(c, loss, accuracy, iterations, converged))
        worth = -loss if by == "loss" else accuracy
        if best is None or worth > best[0]:
            best, idle = (worth, Solution(weight, bias, c, ())), 0
        else:
            idle += 1
        on_step(number, len(grid))
        if idle == PATIENCE if by == "loss" else accuracy == 1.0:
            break
    assert best is not None
    chosen = best[1]
    on_step(len(grid), len(grid))
    return Solution(chosen.weight, chosen.bias, chosen.c, tuple(tried))


def judge(
    weight: NDArray[np.float64],
    bias: NDArray[np.float64],
    features: Floats,
    targets: NDArray[np.int64],
    class_weights: NDArray[np.float64],
) -> tuple[float, float]:
    """The mean weighted cross-entropy in nats, and the share of rows that are right."""
    logits = features @ weight.T + bias
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    top = logits.max(1, keepdims=True)
    log_sum = top[:, 0] + np.log(np.exp(logits - top).sum(1))
    losses = (log_sum - logits[np.arange(len(targets)), targets]) * class_weights[targets]
    return float(losses.mean()), float((logits.argmax(1) == targets).mean())


@dataclass(frozen=True)
class _Scale:
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    dtype: Any

    @classmethod
    def of(cls, features: Floats) -> _Scale:
        mean = features.mean(0, dtype=np.float64)
        deviation = features.std(0, dtype=np.float64)
        size = np.abs(mean) + deviation
        deviation = np.where(deviation > FLAT * size, deviation, 0.0)
        kind = np.float64 if features.size <= DOUBLE_VALUES else np.float32
        return cls(mean, deviation, kind)

    @property
    def _factor(self) -> NDArray[np.float64]:
        varies = self.deviation > 0
        return np.where(varies, 1.0 / np.where(varies, self.deviation, 1.0), 0.0)

    def __call__(self, features: Floats) -> Any:
        rows = features.astype(self.dtype)
        rows -= self.mean.astype(self.dtype)
        rows *= self._factor.astype(self.dtype)
        return rows

    def folded(
        self, weight: NDArray[np.float64], bias: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        plain = weight * self._factor
        return plain, bias - plain @ self.mean


def _model() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(solver="lbfgs", tol=TOLERANCE, max_iter=ITERATIONS, warm_start=True)


def _fit(
    model: Any, rows: Any, targets: NDArray[np.int64], weights: NDArray[np.float64], before: int
) -> tuple[int, bool]:
    """One round; iterations in all, and whether the search has converged."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.fit(rows, targets, sample_weight=weights)
    open_end = any(issubclass(each.category, ConvergenceWarning) for each in said)
    return before + int(np.max(model.n_iter_)), not open_end


def _outputs(model: Any, classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight O F and bias O of a fitted model, also where a class had no row."""
    weight, bias = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    if classes == 2:
        return weight, bias
    if len(weight) == 1:  # two of more classes had rows
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    every = np.zeros((classes, weight.shape[1]))
    offsets = np.full(classes, bias.mean() - ABSENT)
    every[model.classes_], offsets[model.classes_] = weight, bias
    return every, offsets
