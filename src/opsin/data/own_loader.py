"""Any `DataLoader` of torch as an `EpochLoader`: its samples and batches, the draws keyed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, default_collate
from torch.utils.data.distributed import DistributedSampler

from opsin.core.batch import Batch
from opsin.core.errors import DataRefused, WrongUsage
from opsin.data.batch_plan import share_of
from opsin.data.keyed_draws import Key, KeyedDataset, draws_put_back, set_draws
from opsin.data.loader_workers import Parts, calm_iterator, quiet_worker, unbroken

Plan = list[list[Any]]


class OwnLoader:
    """The batches `(inputs, targets)` of `loader`: `inputs` a tensor, `targets` a tensor or a
    tuple, list or dict of them, each with a row for each sample.

    `loader` is asked for its dataset, its sampler and how it collates; it is not iterated over.
    The order is drawn from its sampler with torch, numpy, `random` and the generators of loader
    and sampler seeded by (seed, epoch); what dataset and collate function draw is keyed too
    (`opsin.data.keyed_draws`), in workers and without. All of them are put back afterwards.
    So an epoch can be repeated, and begun in the middle without reading what came before.

    `name` stands in the ids ("train/17"). `learns`: of training; another loader gives the same
    batches, with the same draws, in every epoch.

    Raises `WrongUsage` for what cannot be repeated or has no length.
    """

    def __init__(
        self,
        loader: DataLoader[Any],
        name: str = "train",
        *,
        seed: int = 0,
        learns: bool = True,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        _refuse(loader, f"data ({name})")
        self.loader: Any = loader
        self.name = name
        self.learns = learns
        self.share = (0, 1)
        self.workers = loader.num_workers
        self._seed = seed
        self._say = say
        self._planned: tuple[int, Plan] = (0, self._draw(0))
        if learns and self._planned[1] != self._draw(0):
            raise WrongUsage(
                "the sampler gives another order each time, also from the same seed: it holds a "
                "generator of its own, so a killed run could not go on with the same order",
                code="order_not_repeatable",
                where=f"data ({name})",
                fix="draw the order from torch, numpy or random, or keep a torch.Generator in the "
                'sampler as "generator"',
            )

    @property
    def size(self) -> int:
        """Samples in an epoch (the first, where epochs differ)."""
        return sum(len(batch) for batch in self.plan(1))

    @property
    def batch_size(self) -> int:
        """Samples in the largest batch of the first epoch."""
        return max(len(batch) for batch in self.plan(1))

    def plan(self, epoch: int) -> Plan:
        """Positions in the dataset of each batch of `epoch`, of all processes together."""
        epoch = epoch if self.learns else 0
        if self._planned[0] != epoch:
            self._planned = (epoch, self._draw(epoch))
        return self._planned[1]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from number `start` on. Raises `WrongUsage` for other batches
        than those described above.
        """
        key = epoch if self.learns else 0
        plan: list[list[Key]] = [
            [(key, number, row, position) for row, position in enumerate(positions)]
            for number, positions in enumerate(self.plan(epoch))
        ]
        parts = list(share_of(plan[start:], self.share, fill=self.learns))

        def lost(error: BaseException) -> None:
            self._say(f"a loader worker was lost; going on without workers ({error})")
            self.workers = 0

        yield from unbroken(self._batches, lambda: iter(parts), self.workers, lost)

    def _batches(self, parts: Parts[tuple[list[Key], bool]], workers: int) -> Iterator[Batch]:
        own = self.loader
        dataset = KeyedDataset(own.dataset, own.collate_fn, seed=self._seed, name=self.name)
        loader: DataLoader[Any] = DataLoader(
            dataset,  # type: ignore[arg-type]  # keyed
            batch_sampler=[keys for keys, _ in parts()],
            collate_fn=_as_it_is,
            num_workers=workers,
            pin_memory=own.pin_memory,
            timeout=own.timeout if workers else 0,
            worker_init_fn=_Worker(own.worker_init_fn),
            multiprocessing_context=own.multiprocessing_context if workers else None,
            prefetch_factor=own.prefetch_factor if workers else None,
            # Else each epoch would move the generator that belongs to everybody.
            generator=torch.Generator(),
        )
        for (keys, filler), made in zip(parts(), calm_iterator(loader), strict=True):
            yield self._batch(made, tuple(f"{self.name}/{key[-1]}" for key in keys), filler)

    def _batch(self, made: Any, ids: tuple[str, ...], filler: bool) -> Batch:
        where = f"data ({self.name})"
        if not isinstance(made, tuple | list) or len(made) != 2:
            raise WrongUsage(
                f"a batch is (inputs, targets), came {_shown(made)}",
                code="wrong_batch",
                where=where,
                fix="return (inputs, targets) from the dataset, or from a collate_fn; targets may "
                "be a tuple or a dict of tensors",
            )
        inputs, targets = made
        if not isinstance(inputs, torch.Tensor):
            raise WrongUsage(
                f"the inputs of a batch are one tensor, came {_shown(inputs)}",
                code="wrong_batch",
                where=where,
                fix="stack them in the collate_fn",
            )
        if self.loader.collate_fn is default_collate:
            # It makes a list of columns of what each sample has as a tuple.
            targets = _columns(targets)
        for part in _columns_of((inputs, targets)):
            rows = len(part) if not isinstance(part, torch.Tensor) or part.ndim else 0
            if rows != len(ids):
                raise WrongUsage(
                    f"a batch of {len(ids)} samples has {_shown(part)}; wanted is a row for each",
                    code="wrong_batch",
                    where=where,
                    fix="a collate_fn that keeps a row for each sample",
                )
        return Batch(inputs, targets, ids, filler)

    def _draw(self, epoch: int) -> Plan:
        own = self.loader
        holders: list[Any] = [own, own.sampler, own.batch_sampler]
        holders.append(getattr(own.batch_sampler, "sampler", None))
        found = (getattr(holder, "generator", None) for holder in holders)
        generators = {id(each): each for each in found if isinstance(each, torch.Generator)}
        states = {key: each.get_state() for key, each in generators.items()}
        for holder in holders:
            if callable(getattr(holder, "set_epoch", None)):
                holder.set_epoch(epoch)
        try:
            with draws_put_back():
                set_draws(self._seed, self.name, epoch, "order")
                for each in generators.values():
                    each.manual_seed(torch.initial_seed())
                plan = [list(batch) for batch in islice(own.batch_sampler, len(own) + 1)]
        finally:
            for key, each in generators.items():
                each.set_state(states[key])
        if len(plan) != len(own) or not plan:
            gives = "more" if len(plan) > len(own) else str(len(plan) or "none")
            raise DataRefused(
                f"the loader says that it has {len(own)} batches and gives {gives}",
                code="wrong_length",
                where=f"data ({self.name})",
                fix="let its length say how many batches it gives",
            )
        return plan


class _Worker:
    """What each worker does first: as all of ours, then as the loader's owner wishes."""

    def __init__(self, own: Callable[[int], None] | None) -> None:
        self._own = own
        self._parent = os.getpid()

    def __call__(self, worker: int) -> None:
        quiet_worker(self._parent, worker)
        if self._own is not None:
            self._own(worker)


def _refuse(loader: Any, where: str) -> None:
    if not isinstance(loader, DataLoader):
        raise WrongUsage(
            f"wanted is a torch.utils.data.DataLoader, came {type(loader).__name__}",
            where=where,
            fix="DataLoader(dataset, batch_size=32)",
        )
    why, fix = "", "a Dataset with __len__ and __getitem__"
    if isinstance(loader.dataset, IterableDataset):
        why = "an IterableDataset can only be read from its beginning"
    elif type(loader).__iter__ is not DataLoader.__iter__:
        why = f"{type(loader).__name__} has an __iter__ of its own"
        fix = "do its work in the dataset or in collate_fn"
    elif loader.batch_sampler is None:
        why, fix = "a loader with batch_size=None does not say what is in a batch", "a batch_size"
    elif isinstance(loader.sampler, DistributedSampler):
        why = "a DistributedSampler gives a part of the data, and parts are made by opsin itself"
        fix = "leave the sampler out"
    else:
        try:
            len(loader)
        except TypeError:
            why = "the loader has no length"
    if why:
        raise WrongUsage(
            f"{why}; an epoch must be repeatable, and be begun in the middle after a kill",
            code="loader_refused",
            where=where,
            fix=fix,
        )


def _as_it_is(batch: Any) -> Any:
    return batch


def _columns(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_columns(part) for part in value)
    if isinstance(value, dict):
        return {name: _columns(part) for name, part in value.items()}
    return value


def _columns_of(value: Any) -> Iterator[Any]:
    """Every tensor, and every list: of rows, whatever they are."""
    if isinstance(value, torch.Tensor | list):
        yield value
    elif isinstance(value, dict | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _columns_of(part)


def _shown(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor {' x '.join(map(str, value.shape)) or 'of no dimension'}"
    if isinstance(value, dict):
        return f"a dict of {', '.join(map(str, value))}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return type(value).__name__
