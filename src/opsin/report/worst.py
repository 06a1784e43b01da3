"""The mistakes that cost the model most."""

from __future__ import annotations

from dataclasses import dataclass

from opsin.core.report import main_split
from opsin.evaluation.predictions import PredictionTable

WORST_SHOWN = 12


@dataclass(frozen=True)
class WrongPicture:
    """A picture that was named wrongly: `probability` is that of `predicted`, `true_probability`
    that of its true class.
    """

    path: str
    true: str
    predicted: str
    probability: float
    true_probability: float


def worst_pictures(table: PredictionTable, limit: int = WORST_SHOWN) -> list[WrongPicture]:
    """The up to `limit` wrong predictions with the highest loss, worst first.

    Taken from the test set; without one, from the validation set. Equal losses are ordered by
    path, so that the same run always shows the same pictures.

    >>> import numpy as np
    >>> from opsin.core.columns import Codes
    >>> said = np.array([[0.4, 0.6], [0.05, 0.95], [0.9, 0.1]])
    >>> table = PredictionTable(
    ...     ("cat", "dog"), Codes(["test"] * 3), ("a.png", "b.png", "c.png"), np.zeros(3, int), said
    ... )
    >>> [row.path for row in worst_pictures(table)]
    ['b.png', 'a.png']
    """
    split = main_split(table.splits)
    predicted, loss = table.predicted, table.loss
    wrong = [] if split is None else [i for i in table.rows(split) if predicted[i] != table.true[i]]
    wrong.sort(key=lambda i: (-loss[i], table.ids[i]))
    return [
        WrongPicture(
            table.ids[i],
            table.classes[table.true[i]],
            table.classes[predicted[i]],
            float(table.probabilities[i, predicted[i]]),
            float(table.probabilities[i, table.true[i]]),
        )
        for i in wrong[:limit]
    ]
