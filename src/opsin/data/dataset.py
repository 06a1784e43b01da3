"""The pictures of one split, whole batches of them, augmented by keyed draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from opsin.core.columns import Numbers
from opsin.core.sample import Sample
from opsin.data.augment.augmenter import Augmenter
from opsin.data.on_device import Pictures

Key = tuple[int, int]
"""(epoch, position)."""
Pair = tuple[Key, Key]
"""A picture, and the one it is mixed with where pictures are mixed."""


class ImageDataset:
    """Rows of a pixel store. The epoch is part of what is asked for, so no state is left behind
    in a worker; a picture depends on (seed, epoch, source id) alone, a mixed one on two of them.
    """

    def __init__(
        self,
        store: Pictures,
        rows: Sequence[int] | Numbers,
        targets: Sequence[Any],
        ids: Sequence[str],
        *,
        seed: int,
        augment: str = "none",
    ) -> None:
        self.store = store
        self.rows = np.asarray(rows, np.int64)
        self.targets = targets
        self.ids = ids
        self.seed = seed
        self.augment = augment
        self.augmenter = Augmenter(augment, seed=seed)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> Sample[Any]:
        """One picture, not mixed."""
        position = key[1]
        image = self.pictures([key])[0].cpu().numpy()
        return Sample(image, self.targets[position], self.ids[position])

    def __getitems__(self, pairs: list[Pair]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """uint8 B C H W, and the share that each has in its picture, float32 B, where they were
        mixed.
        """
        keys = [key for key, _ in pairs]
        images = self.pictures(keys)
        if not self.augmenter.mixes:
            return images, None
        partners = [partner for _, partner in pairs]
        turned = partners == keys[1:] + keys[:1]
        others = images.roll(-1, 0) if turned else self.pictures(partners)
        return self.augmenter.mix(images, others, *self._epochs_and_ids(keys))

    def pictures(self, keys: Sequence[Key]) -> torch.Tensor:
        """uint8 B C H W: augmented, not mixed."""
        rows = self.rows[[position for _, position in keys]].tolist()
        images = torch.as_tensor(self.store.gather(rows))
        if not self.augmenter.active:
            return images
        return self.augmenter(images, *self._epochs_and_ids(keys))

    def _epochs_and_ids(self, keys: Sequence[Key]) -> tuple[list[int], list[str]]:
        return [epoch for epoch, _ in keys], [self.ids[position] for _, position in keys]
