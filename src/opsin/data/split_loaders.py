"""Loaders for the splits of an intake."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any

import torch

from opsin.data.dataset import ImageDataset
from opsin.data.intake import Intake
from opsin.data.landing import CPU
from opsin.data.loader import Loader
from opsin.data.on_device import Pictures
from opsin.data.splits import Split


def split_loader(
    intake: Intake,
    store: Pictures,
    split: Split,
    name: str,
    collate_targets: Callable[[Sequence[Any]], Any],
    *,
    seed: int,
    batch_size: int,
    augment: str = "none",
    shuffle: bool = False,
    balanced: bool = False,
    workers: int = 0,
    device: torch.device = CPU,
    say: Callable[[str], None] = lambda text: None,
) -> Loader:
    """The loader of split `name`; without `augment`, `shuffle` and `balanced` it is the
    same every epoch.
    """
    ids = split.splits[name]
    rows = intake.rows_of(ids)
    targets = array("i", intake.index.rows.targets[rows].tolist())
    dataset = ImageDataset(store, rows, targets, ids, seed=seed, augment=augment)
    return Loader(
        dataset,
        collate_targets,
        batch_size=batch_size,
        shuffle=shuffle,
        balanced=balanced,
        workers=workers,
        device=device,
        say=say,
    )
