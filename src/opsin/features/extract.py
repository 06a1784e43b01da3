"""What a frozen backbone says of each picture, computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.data.loader import Loader, batch_plan


class FeatureLoader:
    """The batches of a split with features B F in place of pictures; the same order and the same
    grouping as the picture loader it was made from.
    """

    def __init__(
        self,
        features: torch.Tensor,
        targets: Sequence[Any],
        ids: Sequence[str],
        collate_targets: Callable[[Sequence[Any]], Any],
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
    ) -> None:
        self.features = features
        self._targets = targets
        self._ids = ids
        self._collate_targets = collate_targets
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle

    @property
    def size(self) -> int:
        """The number of samples in an epoch."""
        return len(self._ids)

    def plan(self, epoch: int) -> list[list[int]]:
        """The positions of each batch of `epoch`."""
        return batch_plan(
            self._ids, self._batch_size, seed=self._seed, epoch=epoch, shuffle=self._shuffle
        )

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of `epoch`: inputs float32 B F."""
        for rows in self.plan(epoch):
            yield Batch(
                self.features[rows],
                self._collate_targets([self._targets[row] for row in rows]),
                tuple(self._ids[row] for row in rows),
            )


def extract_features(
    backbone: nn.Module,
    loader: Loader,
    collate_targets: Callable[[Sequence[Any]], Any],
    *,
    device: torch.device,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> FeatureLoader:
    """Run `backbone` (in evaluation mode) once over every picture of `loader`.

    The pictures must not be augmented: features of one random view are not the picture's.
    """
    data = loader.dataset
    if data.augment != "none":
        raise ValueError("features are computed once, so the pictures must not be augmented")
    backbone.eval()
    features: torch.Tensor | None = None
    position = {source_id: row for row, source_id in enumerate(data.ids)}
    done = 0
    with torch.inference_mode():
        for batch in loader.epoch(0):
            outputs = backbone(batch.inputs.to(device)).cpu()
            if features is None:
                features = torch.empty(len(data), outputs.shape[1])
            features[[position[source_id] for source_id in batch.ids]] = outputs
            done += len(batch)
            on_batch(done, len(data))
    if features is None:
        features = torch.empty(0, 0)
    return FeatureLoader(
        # A tensor made under inference mode cannot take part in training.
        features.clone(),
        data.targets,
        data.ids,
        collate_targets,
        batch_size=loader.batch_size,
        seed=data.seed,
        shuffle=loader.shuffle,
    )
