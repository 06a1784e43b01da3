"""What a frozen backbone says of each picture, computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.core.micro_batch import MicroBatch, batches_that_fit
from opsin.data.batch_plan import share_of
from opsin.data.loader import Loader


class FeatureLoader:
    """The batches of a picture loader with features B F in place of the pictures, in the same
    order and grouping.

    `backbone` (in evaluation mode) is asked once about each picture, when the first batch is
    wanted, so a stage that is over never computes anything. The pictures must not be augmented:
    features of one random view are not the picture's; raises `ValueError`. Each process asks
    about every picture, whatever its share of the batches.
    """

    def __init__(
        self,
        backbone: nn.Module,
        loader: Loader,
        collate_targets: Callable[[Sequence[Any]], Any],
        *,
        device: torch.device,
        on_batch: Callable[[int, int], None] = lambda done, total: None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        if loader.dataset.augment != "none":
            raise ValueError("features are computed once, so the pictures must not be augmented")
        self._backbone = backbone
        self._loader = loader
        self._collate_targets = collate_targets
        self._device = device
        self._on_batch = on_batch
        self._features: torch.Tensor | None = None
        self._micro = MicroBatch(say=say)
        self.share = (0, 1)

    @property
    def size(self) -> int:
        """The number of samples in an epoch."""
        return self._loader.size

    def plan(self, epoch: int) -> list[list[int]]:
        """The positions of each batch of `epoch`, of all processes together."""
        return self._loader.plan(epoch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from number `start` on: inputs float32 B F."""
        if self._features is None:
            self._features = self._extract()
        data = self._loader.dataset
        parts = share_of(self.plan(epoch)[start:], self.share, fill=self._loader.shuffle)
        for rows, filler in parts:
            yield Batch(
                self._features[rows],
                self._collate_targets([data.targets[row] for row in rows]),
                tuple(data.ids[row] for row in rows),
                filler,
            )

    def _ask(self, part: Batch) -> torch.Tensor:
        features: torch.Tensor = self._backbone(part.inputs)
        return features

    def _extract(self) -> torch.Tensor:
        found: list[torch.Tensor] = []
        done = 0
        self._backbone.to(self._device).eval()
        with torch.no_grad():
            for batch in self._loader.once():
                for _, outputs in batches_that_fit(batch.to(self._device), self._micro, self._ask):
                    found.append(outputs.cpu())
                done += len(batch)
                self._on_batch(done, self.size)
        return torch.cat(found) if found else torch.empty(0, 0)
