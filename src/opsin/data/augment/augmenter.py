"""A recipe made into something that augments batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from opsin.core.augment import parse_augment
from opsin.core.seeding import column_keys, draw_columns
from opsin.data.augment.apply import apply
from opsin.data.augment.augmentation import Augmentation, Mixing
from opsin.data.augment.mix import mix
from opsin.data.augment.plan import Floats, Plan
from opsin.data.augment.registry import AUGMENTATIONS


class Augmenter:
    """Augments batches by `recipe` (see `opsin.core.augment`). What becomes of a picture is a
    function of (seed, epoch, source id): the same bits in any batch, process and number of threads.

    `active`: something is done to single pictures. `mixes`: pictures are mixed with others.

    Raises `ValueError` for a recipe that is none.

    >>> images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    >>> augmenter = Augmenter("flip,brightness=0.4,mixup", seed=0)
    >>> augmenter(images, [1, 1], ["a", "b"]).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(self, recipe: str, *, seed: int) -> None:
        self._single: list[Augmentation] = []
        self._mixing: list[Mixing] = []
        columns, mixing_columns = [], []
        for name, strength in parse_augment(recipe):
            if strength == 0:
                continue
            made = AUGMENTATIONS.load(name)(strength or 0.0)
            keys = column_keys(seed, f"augment {name}", made.draws)
            if isinstance(made, Mixing):
                self._mixing.append(made)
                mixing_columns.append(keys)
            else:
                self._single.append(made)
                columns.append(keys)
        self._columns = np.concatenate([*columns, np.empty(0, np.uint64)])
        self._mixing_columns = np.concatenate(
            [*mixing_columns, column_keys(seed, "augment mixing", 1)]
        )
        self.active = bool(self._single)
        self.mixes = bool(self._mixing)

    def __call__(
        self, images: torch.Tensor, epochs: Sequence[int], ids: Sequence[str]
    ) -> torch.Tensor:
        """uint8 B C H W, the epoch and the source id of each, to a new uint8 B C H W."""
        if not self.active:
            return images.clone()
        height, width = images.shape[-2:]
        return apply(self.plan(epochs, ids, (height, width)), images)

    def plan(self, epochs: Sequence[int], ids: Sequence[str], size: tuple[int, int]) -> Plan:
        """What is going to be done to pictures of `size` (H, W); `plan.matrix` takes boxes and
        points along.
        """
        plan = Plan(len(ids), *size)
        drawn = draw_columns(self._columns, epochs, ids)
        place = 0
        for augmentation in self._single:
            augmentation.add_to(plan, drawn[:, place : place + augmentation.draws])
            place += augmentation.draws
        return plan

    def mix(
        self,
        images: torch.Tensor,
        partners: torch.Tensor,
        epochs: Sequence[int],
        ids: Sequence[str],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures mixed with `partners`, both uint8 B C H W and augmented already: new ones, and
        the share of the first picture's label, float32 B. Where mixup and cutmix are both asked
        for, one of them is drawn for each picture.
        """
        size = images.shape[-2], images.shape[-1]
        _, boxes, weights, shares = self._mixtures(epochs, ids, size)
        return mix(images, partners, boxes, weights), torch.from_numpy(shares.astype(np.float32))

    def describe(
        self, epochs: Sequence[int], ids: Sequence[str], size: tuple[int, int]
    ) -> list[str]:
        """The drawn parameters of each picture in words, for pictures of `size` (H, W)."""
        words = self.plan(epochs, ids, size).words()
        if not self.mixes:
            return words
        names, _, _, shares = self._mixtures(epochs, ids, size)
        for row, (name, share) in enumerate(zip(names, shares.tolist(), strict=True)):
            words[row] = f"{words[row]}, {name} {share:.0%}".removeprefix(", ")
        return words

    def _mixtures(
        self, epochs: Sequence[int], ids: Sequence[str], size: tuple[int, int]
    ) -> tuple[list[str], NDArray[np.int64], Floats, Floats]:
        drawn = draw_columns(self._mixing_columns, epochs, ids)
        which = np.floor(drawn[:, -1] * len(self._mixing))
        boxes = np.zeros((len(ids), 4), np.int64)
        weights, shares = np.ones(len(ids)), np.ones(len(ids))
        place = 0
        for number, mixing in enumerate(self._mixing):
            found = mixing.boxes_and_weights(drawn[:, place : place + mixing.draws], *size)
            place += mixing.draws
            mine = which == number
            boxes[mine], weights[mine], shares[mine] = (part[mine] for part in found)
        names = [type(self._mixing[int(number)]).__name__.lower() for number in which]
        return names, boxes, weights, shares
