"""Macro-F1, log-loss and the numbers of each class while a classifier trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from opsin.core.batch import Batch
from opsin.tasks.class_scores import confusion_matrix, each_class, log_loss, macro_f1, sample_losses
from opsin.tasks.meter import Gather

WHOLE = ("macro_f1", "log_loss")
OF_CLASS = ("precision", "recall", "f1")


def class_metric_names(classes: Sequence[str]) -> tuple[str, ...]:
    """What `ClassMeter` can measure.

    >>> class_metric_names(["cat"])
    ('macro_f1', 'log_loss', 'precision:cat', 'recall:cat', 'f1:cat')
    """
    return (*WHOLE, *(f"{metric}:{name}" for name in classes for metric in OF_CLASS))


class ClassMeter:
    """Measures `names` from the answers of `answer` (outputs to probabilities B K), exactly as the
    report does after the training.
    """

    def __init__(
        self,
        classes: Sequence[str],
        names: Sequence[str],
        answer: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        self._classes = tuple(classes)
        self._names = tuple(names)
        self._answer = answer
        self._rows: list[torch.Tensor] = []

    def update(self, outputs: torch.Tensor, batch: Batch) -> None:
        """Keep true class, predicted class and loss of each sample: 24 bytes."""
        probabilities = self._answer(outputs.detach().float()).double().cpu().numpy()
        true = batch.targets.cpu().numpy()
        columns = (true, probabilities.argmax(1), sample_losses(probabilities, true))
        self._rows.append(torch.from_numpy(np.stack(columns, axis=1).astype(np.float64)))

    def compute(self, gather: Gather) -> dict[str, float]:
        """The numbers over all processes; raises `ValueError` when there is no sample at all."""
        mine = torch.cat(self._rows) if self._rows else torch.empty(0, 3, dtype=torch.float64)
        table = gather(mine).cpu().numpy()
        if not len(table):
            raise ValueError("no sample was measured")
        true, predicted = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
        confusion = confusion_matrix(true, predicted, len(self._classes))
        values: dict[str, float] = {}
        if "macro_f1" in self._names:
            values["macro_f1"] = macro_f1(confusion)
        if "log_loss" in self._names:
            values["log_loss"] = log_loss(table[:, 2])
        wanted = [name for name in self._names if name not in WHOLE]
        if wanted:
            scores = each_class(confusion)
            for name in wanted:
                metric, _, label = name.partition(":")
                values[name] = float(scores[metric][self._classes.index(label)])
        return values
