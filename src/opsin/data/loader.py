"""Batches of one epoch, in an order that depends on (seed, epoch, source id) alone."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from opsin.core.batch import Batch
from opsin.core.sample import Sample
from opsin.core.seeding import key_of
from opsin.data.dataset import ImageDataset
from opsin.data.transform import Normalise


def batch_plan(
    ids: Sequence[str], batch_size: int, *, seed: int, epoch: int, shuffle: bool
) -> list[list[int]]:
    """The positions of each batch. A last batch of one joins the one before it, because
    batch-norm cannot learn from a single row.

    >>> [len(batch) for batch in batch_plan(list("abcdefg"), 3, seed=0, epoch=1, shuffle=True)]
    [3, 4]
    """
    order = list(range(len(ids)))
    if shuffle:
        order.sort(key=lambda position: key_of(seed, epoch, ids[position], "order"))
    batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    if shuffle and len(batches) > 1 and len(batches[-1]) == 1:
        single = batches.pop()
        batches[-1] += single
    return batches


class Loader:
    """`loader.epoch(n)` iterates over the batches of epoch n.

    `workers`: processes that decode and augment; 0 does it here. The tensors are the same, also
    when a worker is lost: then the rest is done here, and `say` is told.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        collate_targets: Callable[[Sequence[Any]], Any],
        *,
        batch_size: int,
        shuffle: bool = False,
        workers: int = 0,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._say = say
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.workers = workers
        self._collate_targets = collate_targets
        self._normalise = Normalise(dataset.store.spec)

    @property
    def size(self) -> int:
        """The number of samples in an epoch."""
        return len(self.dataset)

    def plan(self, epoch: int) -> list[list[int]]:
        """The positions of each batch of `epoch`."""
        data = self.dataset
        return batch_plan(
            data.ids, self.batch_size, seed=data.seed, epoch=epoch, shuffle=self.shuffle
        )

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of `epoch`: inputs float32 B C H W, normalised."""
        keys = [[(epoch, position) for position in batch] for batch in self.plan(epoch)]
        given = 0
        try:
            for batch in self._batches(keys, self.workers):
                given += 1
                yield batch
        except RuntimeError as error:
            if not self.workers or "DataLoader worker" not in str(error):
                raise
            # Order and draws are keyed, so going on here gives the batches the worker would have.
            self._say(f"a loader worker was lost; going on without workers ({error})")
            self.workers = 0
            yield from self._batches(keys[given:], 0)

    def _batches(self, keys: list[list[tuple[int, int]]], workers: int) -> Iterator[Batch]:
        loader: DataLoader[Any] = DataLoader(
            self.dataset,  # type: ignore[arg-type]  # keyed by (epoch, position)
            batch_sampler=keys,
            num_workers=workers,
            collate_fn=self._gather,
            worker_init_fn=_quiet_worker,
        )
        for pixels, targets, ids in loader:
            yield Batch(self._normalise(pixels), targets, ids)

    def _gather(self, samples: list[Sample[Any]]) -> tuple[torch.Tensor, Any, tuple[str, ...]]:
        pixels = torch.from_numpy(np.stack([sample.image for sample in samples]))
        targets = self._collate_targets([sample.target for sample in samples])
        return pixels, targets, tuple(sample.source_id for sample in samples)


def _quiet_worker(_worker: int) -> None:
    """One thread, and deaf to Ctrl-C: the parent decides when to stop."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
