"""What a frozen backbone says of each picture, computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.data.loader import Loader


class FeatureLoader:
    """The batches of a picture loader with features B F in place of the pictures, in the same
    order and grouping.

    `backbone` (in evaluation mode) is asked once about each picture, when the first batch is
    wanted, so a stage that is over never computes anything. The pictures must not be augmented:
    features of one random view are not the picture's; raises `ValueError`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        loader: Loader,
        collate_targets: Callable[[Sequence[Any]], Any],
        *,
        device: torch.device,
        on_batch: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        if loader.dataset.augment != "none":
            raise ValueError("features are computed once, so the pictures must not be augmented")
        self._backbone = backbone
        self._loader = loader
        self._collate_targets = collate_targets
        self._device = device
        self._on_batch = on_batch
        self._features: torch.Tensor | None = None

    @property
    def size(self) -> int:
        """The number of samples in an epoch."""
        return self._loader.size

    def plan(self, epoch: int) -> list[list[int]]:
        """The positions of each batch of `epoch`."""
        return self._loader.plan(epoch)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of `epoch`: inputs float32 B F."""
        if self._features is None:
            self._features = self._extract()
        data = self._loader.dataset
        for rows in self.plan(epoch):
            yield Batch(
                self._features[rows],
                self._collate_targets([data.targets[row] for row in rows]),
                tuple(data.ids[row] for row in rows),
            )

    def _extract(self) -> torch.Tensor:
        data = self._loader.dataset
        position = {source_id: row for row, source_id in enumerate(data.ids)}
        found: list[tuple[list[int], torch.Tensor]] = []
        done = 0
        self._backbone.to(self._device).eval()
        with torch.no_grad():
            for batch in self._loader.epoch(0):
                outputs = self._backbone(batch.inputs.to(self._device)).cpu()
                found.append(([position[source_id] for source_id in batch.ids], outputs))
                done += len(batch)
                self._on_batch(done, len(data))
        features = torch.empty(len(data), found[0][1].shape[1] if found else 0)
        for rows, outputs in found:
            features[rows] = outputs
        return features
