"""One class for each picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from opsin.core.batch import Batch
from opsin.core.errors import WrongUsage
from opsin.core.registry import unknown
from opsin.tasks.class_meter import ClassMeter, class_metric_names
from opsin.tasks.losses import LOSSES
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


class Classification(Task):
    """K exclusive classes. Two classes are one logit with a sigmoid, more are K with a softmax; a
    model of one's own may give two logits for two classes.

    `loss`: a name of `LOSSES`, or a function of logits and class indices (see `OwnTask`).
    `label_smoothing`: see there. `class_weights`: K numbers, of mean 1 over the training set; they
    count in training and validation alike, and `log_loss` is the metric without them. `metrics`:
    more of them, see `OwnTask`.

    >>> task = Classification(("cat", "dog"))
    >>> task.num_outputs, [round(p, 2) for p in task.answer(torch.tensor([[0.0]]))[0].tolist()]
    (1, [0.5, 0.5])
    """

    kind = "classification"
    answer_name = "probabilities"

    def __init__(
        self,
        classes: Sequence[str],
        *,
        loss: str | LossFunction = "cross_entropy",
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        metrics: Sequence[OwnMetric] | Mapping[str, OwnMetric] = (),
    ) -> None:
        self.classes = tuple(classes)
        self.num_outputs = 1 if len(self.classes) == 2 else len(self.classes)
        self._own_loss = None if isinstance(loss, str) else OwnLoss(loss)
        self.loss_name = loss if isinstance(loss, str) else OwnLoss(loss).name
        self.loss_function: Callable[..., torch.Tensor] = (
            LOSSES.load(loss) if isinstance(loss, str) else loss
        )
        self._label_smoothing = label_smoothing
        if label_smoothing and self._own_loss:
            raise WrongUsage(
                "a loss of your own smooths its labels itself", where="label_smoothing"
            )
        if class_weights is not None and len(class_weights) != len(self.classes):
            raise WrongUsage(
                f"{len(class_weights)} class weights for {len(self.classes)} classes",
                where="class_weights",
            )
        self._weights = None if class_weights is None else torch.tensor(list(class_weights)).float()
        self._own_names = ("loss", "accuracy", *class_metric_names(self.classes))
        self.metrics = name_metrics(metrics, taken=self._own_names)

    def collate(self, targets: Sequence[Any]) -> torch.Tensor:
        """Class indices, int64 B."""
        return torch.tensor(targets, dtype=torch.int64)

    def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss of each sample, float32 B, from logits B O."""
        weights = self._weights
        if weights is not None and weights.device != outputs.device:
            weights = self._weights = weights.to(outputs.device)
        if self._own_loss is None:
            return self.loss_function(
                outputs,
                batch.targets,
                label_smoothing=self._label_smoothing,
                class_weights=weights,
            )
        losses = self._own_loss(outputs, batch.targets, len(batch))
        if weights is None:
            return losses
        if len(batch) > 1 and losses.stride() == (0,):
            raise WrongUsage(
                "classes can be weighted only where the loss gives a value for each sample",
                where=f"loss {self.loss_name}",
                fix='reduction="none", or --balance sampling, or --balance none',
            )
        return losses * weights[batch.targets]

    def scores(self, outputs: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """`accuracy`: 1 where the most probable class is the true one."""
        chosen = (outputs[:, 0] > 0).long() if outputs.shape[1] == 1 else outputs.argmax(1)
        return {"accuracy": (chosen == batch.targets).float()}

    def answer(self, outputs: torch.Tensor) -> torch.Tensor:
        """Logits B O to probabilities B K. Those of `bce`, which learns each class against all
        others, are its sigmoids, scaled to a sum of 1.
        """
        if outputs.shape[1] == 1:
            positive = outputs.sigmoid()
            return torch.cat([1 - positive, positive], dim=1)
        if self.loss_name == "bce":
            outputs = functional.logsigmoid(outputs)
        return outputs.softmax(1)

    def metric_names(self) -> tuple[str, ...]:
        """Those of the report (`recall:cat` is of one class) and those that were given."""
        return (*self._own_names, *names_of(self.metrics))

    def larger_is_better(self, name: str) -> bool:
        """The losses are to fall; of own metrics what torchmetrics says, else by the name."""
        if name in self._own_names:
            return name not in ("loss", "log_loss")
        return larger_is_better(self.metrics, name)

    def meter(self, names: Sequence[str] = ()) -> Meter:
        """Measures `names` as the report does, and all metrics that were given."""
        allowed = self.metric_names()
        for name in names:
            if name not in allowed:
                raise unknown("metric", name, list(allowed))
        of_classes = class_metric_names(self.classes)
        wanted = [name for name in names if name in of_classes]
        meters: list[Meter] = []
        if wanted:
            meters.append(ClassMeter(self.classes, wanted, self.answer))
        if self.metrics:
            meters.append(OwnMeter(self.metrics))
        return Meters(meters)
