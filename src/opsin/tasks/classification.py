"""One class for each picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from opsin.core.batch import Batch
from opsin.tasks.task import Task


class Classification(Task):
    """K exclusive classes. Two classes are one logit with a sigmoid, more are K with a softmax.

    >>> task = Classification(("cat", "dog"))
    >>> task.num_outputs, [round(p, 2) for p in task.answer(torch.tensor([[0.0]]))[0].tolist()]
    (1, [0.5, 0.5])
    """

    kind = "classification"
    answer_name = "probabilities"

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.num_outputs = 1 if len(self.classes) == 2 else len(self.classes)

    def collate(self, targets: Sequence[Any]) -> torch.Tensor:
        """Class indices, int64 B."""
        return torch.tensor(targets, dtype=torch.int64)

    def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross-entropy of each sample in nats, float32 B (binary from one logit)."""
        if self.num_outputs == 1:
            wanted = batch.targets.to(outputs.dtype)
            return functional.binary_cross_entropy_with_logits(
                outputs[:, 0], wanted, reduction="none"
            )
        return functional.cross_entropy(outputs, batch.targets, reduction="none")

    def scores(self, outputs: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """`accuracy`: 1 where the most probable class is the true one."""
        if self.num_outputs == 1:
            chosen = (outputs[:, 0] > 0).long()
        else:
            chosen = outputs.argmax(1)
        return {"accuracy": (chosen == batch.targets).float()}

    def answer(self, outputs: torch.Tensor) -> torch.Tensor:
        """Logits B O to probabilities B K."""
        if self.num_outputs == 1:
            positive = outputs.sigmoid()
            return torch.cat([1 - positive, positive], dim=1)
        return outputs.softmax(1)
