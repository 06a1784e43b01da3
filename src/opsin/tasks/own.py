"""Any model with any loss: what the targets mean is between the two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from opsin.core.batch import Batch
from opsin.core.registry import unknown
from opsin.tasks.meter import Meter, Meters
from opsin.tasks.own_loss import LossFunction, OwnLoss
from opsin.tasks.own_metrics import (
    OwnMeter,
    OwnMetric,
    larger_is_better,
    name_metrics,
    names_of,
)
from opsin.tasks.task import Task


class OwnTask(Task):
    """`loss(outputs, targets)` gives the mean over the batch or a value for each sample; `metrics`
    are torchmetrics, or functions (outputs, targets) -> number, asked once over all of validation.

    >>> task = OwnTask(torch.nn.L1Loss())
    >>> batch = Batch(torch.zeros(2, 1), torch.tensor([1.0, 3.0]), ("a", "b"))
    >>> task.loss(torch.zeros(2), batch)
    tensor([2., 2.])
    """

    kind = "own"
    answer_name = "outputs"

    def __init__(
        self,
        loss: LossFunction,
        metrics: Sequence[OwnMetric] | Mapping[str, OwnMetric] = (),
    ) -> None:
        self._own_loss = OwnLoss(loss)
        self.loss_name = self._own_loss.name
        self.loss_function = loss
        self.metrics = name_metrics(metrics, taken=("loss",))

    def collate(self, targets: Sequence[Any]) -> Any:
        """A tensor of B targets, from numbers, arrays or tensors of one shape."""
        if targets and isinstance(targets[0], torch.Tensor):
            return torch.stack(tuple(targets))
        return torch.as_tensor(targets)

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """The loss of each sample, float32 B; a batch's mean stands for each of its samples.

        Raises `WrongUsage` for a loss that is neither.
        """
        return self._own_loss(outputs, batch.targets, len(batch))

    def scores(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Nothing: own metrics are measured over an epoch as a whole."""
        return {}

    def answer(self, outputs: torch.Tensor) -> torch.Tensor:
        """The outputs as they are."""
        return outputs

    def metric_names(self) -> tuple[str, ...]:
        """The loss and the metrics that were given."""
        return ("loss", *names_of(self.metrics))

    def larger_is_better(self, name: str) -> bool:
        """As torchmetrics says; else by the name."""
        return larger_is_better(self.metrics, name)

    def meter(self, names: Sequence[str] = ()) -> Meter:
        """All metrics, whatever `names`: they were given to be measured."""
        for name in names:
            if name not in self.metric_names():
                raise unknown("metric", name, list(self.metric_names()))
        return OwnMeter(self.metrics) if self.metrics else Meters()
