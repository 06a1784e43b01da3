"""Batches of one epoch, in an order that depends on (seed, epoch, source id) alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, get_worker_info

from opsin.core.batch import Batch, Mixed
from opsin.data.ahead import ahead
from opsin.data.batch_plan import Plan, batch_plan, share_of
from opsin.data.dataset import ImageDataset, Pair
from opsin.data.landing import CPU, landing_on
from opsin.data.loader_workers import Parts, calm_iterator, quiet_worker, unbroken
from opsin.data.on_device import OnDevice
from opsin.data.shared_memory import shared_memory_note

_AGAIN = 1 << 32
"""More epochs than anybody runs: a picture drawn again is augmented as in an epoch of its own."""

Part = tuple[list[Pair], bool]
"""What the dataset is asked for, and whether the batch is a filler."""


class Loader:
    """`loader.epoch(n)` iterates over the batches of epoch n.

    `workers`: processes that decode and augment; 0 does it here (see `opsin.data.ahead`).
    The tensors are the same, also when a worker is lost: then the rest is done here, and
    `say` is told. `balanced`: an epoch has as many samples as ever, each class drawn equally often.
    Where pictures are mixed, each is so with the next of its batch. `share`: see `EpochLoader`.
    `device`: where batches are wanted; on CUDA they come there already (see `opsin.data.landing`).
    """

    def __init__(
        self,
        dataset: ImageDataset,
        collate_targets: Callable[[Sequence[Any]], Any],
        *,
        batch_size: int,
        shuffle: bool = False,
        balanced: bool = False,
        workers: int = 0,
        device: torch.device = CPU,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._say = say
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle or balanced
        self.balanced = balanced
        self.workers = workers
        self.share = (0, 1)
        self._collate_targets = collate_targets
        self._landing = landing_on(device, dataset.store.spec)

    @property
    def size(self) -> int:
        """The number of samples in an epoch."""
        return len(self.dataset)

    @property
    def ids(self) -> Sequence[str]:
        """The source ids, in the order of the dataset."""
        return self.dataset.ids

    def plan(self, epoch: int) -> Plan:
        """The positions of each batch of `epoch`, of all processes together."""
        data = self.dataset
        return batch_plan(
            data.ids,
            self.batch_size,
            seed=data.seed,
            epoch=epoch,
            shuffle=self.shuffle,
            balance=data.targets if self.balanced else None,
        )

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from number `start` on: inputs float32 B C H W, normalised."""
        plan = self.plan(epoch)

        def parts() -> Iterator[Part]:
            return share_of(self._pairs(epoch, plan, start), self.share, fill=self.shuffle)

        yield from self._unbroken(parts)

    def once(self, epoch: int = 0, positions: Sequence[int] | None = None) -> Iterator[Batch]:
        """The samples at `positions`, else every one in the order of the dataset, augmented as in
        `epoch`, whatever the share and the balance.
        """
        wanted = range(len(self.dataset)) if positions is None else positions
        size = self.batch_size

        def parts() -> Iterator[Part]:
            for at in range(0, len(wanted), size):
                keys = [(epoch, position) for position in wanted[at : at + size]]
                yield list(zip(keys, keys, strict=True)), False

        yield from self._unbroken(parts)

    def _pairs(self, epoch: int, plan: Plan, start: int) -> Iterator[list[Pair]]:
        drawn: Counter[int] = Counter()
        for number, rows in enumerate(plan):
            keys = [(epoch, row) for row in rows]
            if self.balanced:
                keys = []
                for row in rows:
                    keys.append((epoch + _AGAIN * drawn[row], row))
                    drawn[row] += 1
            if number >= start:
                yield list(zip(keys, keys[1:] + keys[:1], strict=True))

    def _unbroken(self, parts: Parts[Part]) -> Iterator[Batch]:
        def lost(error: BaseException) -> None:
            tall, wide = self.dataset.store.spec.prepared_px
            largest = max(len(keys) for keys, _ in parts())
            note = shared_memory_note(error, self.workers, largest * 3 * tall * wide)
            self._say(f"a loader worker was lost{note}; going on without workers ({_last(error)})")
            self.workers = 0

        yield from unbroken(self._batches, parts, self.workers, lost)

    def _batches(self, parts: Parts[Part], workers: int) -> Iterator[Batch]:
        if not workers:
            made_there = isinstance(self.dataset.store, OnDevice)
            yield from ahead(self._batch, parts(), self._landing.land, beforehand=not made_there)
            return
        loader: DataLoader[Any] = DataLoader(
            self.dataset,  # type: ignore[arg-type]  # asked for pairs of keys
            batch_sampler=(pairs for pairs, _ in parts()),
            num_workers=workers,
            collate_fn=_shared,  # type: ignore[arg-type]  # __getitems__ gives no list
            worker_init_fn=partial(quiet_worker, os.getpid()),
            # Else each epoch would move the generator that belongs to everybody.
            generator=torch.Generator(),
        )
        for part, (pixels, share) in zip(parts(), calm_iterator(loader), strict=True):
            yield self._landing.land(self._finished(part, pixels, share))

    def _batch(self, part: Part) -> Batch:
        return self._finished(part, *self.dataset.__getitems__(part[0]))

    def _finished(self, part: Part, pixels: torch.Tensor, share: torch.Tensor | None) -> Batch:
        (pairs, filler), data = part, self.dataset
        own, others = ([pair[which][1] for pair in pairs] for which in (0, 1))
        mixed = share if share is None else Mixed(self._targets(others), share)
        ids = tuple(data.ids[position] for position in own)
        return self._landing.ready(Batch(pixels, self._targets(own), ids, filler, mixed))

    def _targets(self, positions: list[int]) -> Any:
        return self._collate_targets([self.dataset.targets[position] for position in positions])


def _shared(
    made: tuple[torch.Tensor, torch.Tensor | None],
) -> tuple[torch.Tensor, torch.Tensor | None]:
    # Left to the queue's own thread, a lack of shared memory would lose the batch unsaid.
    if get_worker_info() is not None:
        made[0].share_memory_()  # type: ignore[no-untyped-call]
    return made


def _last(error: BaseException) -> str:
    """The last line of an error: of a worker's, the one below its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
