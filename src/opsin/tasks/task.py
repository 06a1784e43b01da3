"""`Task`: the forward meaning of a model's outputs. The loop knows no more than this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

from opsin.core.batch import Batch
from opsin.tasks.meter import Meter, Meters


class Task(ABC):
    """Loss, scores and decoding for one kind of problem."""

    kind: str
    num_outputs: int

    @abstractmethod
    def collate(self, targets: Sequence[Any]) -> Any:
        """The targets of a batch in the form that `loss` reads."""

    @abstractmethod
    def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss of each sample: float32 B, so that means can be weighted by samples.

        Training and validation use the same one, with its smoothing and class weights, as people
        do with torch: so the two curves can be compared.
        """

    @abstractmethod
    def scores(self, outputs: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """What the epoch line shows beside the loss: name to float32 B, averaged over samples."""

    @abstractmethod
    def answer(self, outputs: torch.Tensor) -> torch.Tensor:
        """What the exported graph gives: for classification, probabilities B K."""

    def metric_names(self) -> tuple[str, ...]:
        """Everything that can be monitored on the validation set, without `val_` before it."""
        return ("loss",)

    def larger_is_better(self, name: str) -> bool:
        """Whether a metric of `metric_names` is to grow."""
        return not name.endswith("loss")

    def meter(self, names: Sequence[str] = ()) -> Meter:
        """A fresh meter for one epoch of `names`, which `scores` does not give, and of the metrics
        that the task was given. Raises `WrongUsage` for another name than those of `metric_names`.
        """
        return Meters()
