"""The mistakes that cost the model most."""

from __future__ import annotations

import math
from collections.abc import Sequence

from opsin.report.read import PredictionRow, main_split

WORST_SHOWN = 12


def worst_pictures(
    predictions: Sequence[PredictionRow], limit: int = WORST_SHOWN
) -> list[PredictionRow]:
    """The up to `limit` wrong predictions with the highest loss, worst first.

    Taken from the test set; without one, from the validation set. Equal losses are ordered by
    path, so that the same run always shows the same pictures.

    >>> rows = [
    ...     PredictionRow("test", "a.png", "cat", "dog", 0.9, 0.6, 0.4),
    ...     PredictionRow("test", "b.png", "cat", "dog", 3.0, 0.95, 0.05),
    ...     PredictionRow("test", "c.png", "cat", "cat", 0.1, 0.9, 0.9),
    ... ]
    >>> [row.path for row in worst_pictures(rows, 12)]
    ['b.png', 'a.png']
    """
    split = main_split(dict.fromkeys(row.split for row in predictions))
    wrong = [row for row in predictions if row.split == split and row.true != row.predicted]
    return sorted(wrong, key=lambda row: (-_cost(row), row.path))[:limit]


def _cost(row: PredictionRow) -> float:
    """The loss; where it is absent, what cross-entropy would have said."""
    if row.loss is not None:
        return row.loss
    if row.true_probability is None:
        return 0.0
    return math.inf if row.true_probability <= 0 else -math.log(row.true_probability)
