"""The pictures of one split as samples, augmented by keyed draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from opsin.core.sample import Sample
from opsin.core.seeding import generator
from opsin.data.augment.registry import AUGMENTATIONS
from opsin.data.pixels import PixelStore


class ImageDataset:
    """Rows of a pixel store. `epoch` is part of what is asked for, so no state is left behind
    in a worker; a sample depends on (seed, epoch, source id) alone.
    """

    def __init__(
        self,
        store: PixelStore,
        rows: Sequence[int],
        targets: Sequence[Any],
        ids: Sequence[str],
        *,
        seed: int,
        augment: str = "none",
    ) -> None:
        self.store = store
        self.rows = list(rows)
        self.targets = list(targets)
        self.ids = list(ids)
        self.seed = seed
        self.augment = augment
        self._augmentation = AUGMENTATIONS.load(augment)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int]) -> Sample[Any]:
        """`key` is (epoch, position)."""
        epoch, position = key
        image = self.store[self.rows[position]]
        source_id = self.ids[position]
        if self.augment != "none":
            draw = generator(self.seed, epoch, source_id, "augment")
            image = self._augmentation(torch.from_numpy(image), draw).numpy()
        return Sample(image, self.targets[position], source_id)
