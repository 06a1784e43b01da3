"""What a frozen backbone says of each picture, computed once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.core.micro_batch import MicroBatch, batches_that_fit
from opsin.data.batch_plan import Plan, share_of
from opsin.data.loader import Loader
from opsin.features.ask import AT_ONCE, frozen, laid
from opsin.features.store import FeatureStore, features_key, hash_of, name_of

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Asking:
    """How pictures are asked about. `channels_last`: in that layout; `autocast`: the arithmetic,
    called `precision`; `store`: where answers are kept, else in memory alone; `on_batch`: hears how
    many of how many are done.
    """

    device: torch.device = CPU
    channels_last: bool = True
    precision: str = "float32"
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    store: FeatureStore | None = None
    on_batch: Callable[[int, int], None] = lambda done, total: None
    say: Callable[[str], None] = lambda text: None


class FeatureLoader:
    """The batches of a picture loader with features B F (or activations B C H W) in place of the
    pictures, in the same order and grouping.

    `backbone` is asked once about each picture, when the first batch is wanted, so a stage that is
    over never computes anything. Augmented pictures are asked about in `views` fixed views: view v
    is each picture as the loader augments it in epoch v, and epoch e gives view (e - 1) mod
    `views`. `contents`: the SHA-256 of each picture, by position; without it nothing is stored.
    Each process asks about every picture, whatever its share of the batches.

    Raises `ValueError` where pictures are mixed with others: then no answer is one picture's.
    """

    def __init__(
        self,
        backbone: nn.Module,
        loader: Loader,
        collate_targets: Callable[[Sequence[Any]], Any],
        asking: Asking,
        *,
        views: int = 1,
        contents: Sequence[str] | None = None,
        name: str = "",
    ) -> None:
        if loader.dataset.augmenter.mixes:
            raise ValueError("mixed pictures have no features of their own")
        self._backbone = backbone
        self._loader = loader
        self._collate_targets = collate_targets
        self._asking = asking
        self.views = views if loader.dataset.augment != "none" else 1
        self._contents = contents
        self._name = name
        self._hash = ""
        self._features: dict[int, torch.Tensor] = {}
        self._micro = MicroBatch(say=asking.say)
        self.share = (0, 1)

    @property
    def size(self) -> int:
        """The number of samples in an epoch."""
        return self._loader.size

    @property
    def ids(self) -> Sequence[str]:
        """The source ids, in the order of the pictures."""
        return self._loader.ids

    @property
    def pictures(self) -> Loader:
        """The loader whose pictures are asked about."""
        return self._loader

    def plan(self, epoch: int) -> Plan:
        """The positions of each batch of `epoch`, of all processes together."""
        return self._loader.plan(epoch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from number `start` on: inputs float32 B F."""
        features = self.view((max(epoch, 1) - 1) % self.views)
        parts = share_of(self.plan(epoch)[start:], self.share, fill=self._loader.shuffle)
        for rows, filler in parts:
            yield self._batch(features[rows], rows, filler)

    def everything(self) -> Batch:
        """All views of all pictures as one batch, view by view: inputs V*N F."""
        rows = list(range(self.size))
        features = [self.view(number) for number in range(self.views)]
        return self._batch(torch.cat(features), rows * self.views, False)

    def view(self, number: int) -> torch.Tensor:
        """The features of view `number` (0-based), N F, by position."""
        if number not in self._features:
            self._features[number] = self._stored(number)
        return self._features[number]

    def answered(self, batch: Batch) -> Batch:
        """A batch of pictures with the answers in their place, asked for now and kept nowhere."""
        asking = self._asking
        with frozen(self._backbone, asking.device, channels_last=asking.channels_last):
            answers = self._ask(batch)
        # A copy: what was made in inference mode cannot be learnt from.
        return replace(batch, inputs=answers.clone().to(asking.device))

    @property
    def left_to_ask(self) -> int:
        """Pictures about which the backbone has still to be asked, views counted."""
        wanted = [number for number in range(self.views) if number not in self._features]
        store, contents = self._asking.store, self._contents
        if store is None or contents is None:
            return len(wanted) * self.size
        names = [name for number in wanted for name in self._names(number, contents)]
        return store.missing(self._key(), names) if names else 0

    def _batch(self, inputs: torch.Tensor, rows: Sequence[int], filler: bool) -> Batch:
        data = self._loader.dataset
        targets = self._collate_targets([data.targets[row] for row in rows])
        return Batch(inputs, targets, tuple(data.ids[row] for row in rows), filler)

    def _stored(self, number: int) -> torch.Tensor:
        store, everything = self._asking.store, range(self.size)
        if store is None or self._contents is None:
            return self._extract(number, everything)
        key, names = self._key(), self._names(number, self._contents)
        known = store.known(key, names)
        left = [position for position in everything if names[position] not in known]
        if left:
            found, new = self._extract(number, left), [names[position] for position in left]
            # Where a part did not fit, other batches were asked: other bits than the key says.
            if self._micro.size is None:
                store.save(key, new, found)
            known.update(zip(new, found, strict=True))
        return torch.stack([known[name] for name in names])

    def _key(self) -> str:
        asking = self._asking
        self._hash = self._hash or hash_of(self._backbone, self._name)
        return features_key(
            self._hash,
            device=asking.device,
            spec=self._loader.dataset.store.spec.model_dump(mode="json"),
            batch=AT_ONCE,
            channels_last=asking.channels_last,
            precision=asking.precision,
        )

    def _names(self, number: int, contents: Sequence[str]) -> list[str]:
        data = self._loader.dataset
        if data.augment == "none":
            return [name_of(content) for content in contents]
        draws = [number, data.augment, data.seed]
        return [name_of([*pair, *draws]) for pair in zip(contents, data.ids, strict=True)]

    def _extract(self, number: int, positions: Sequence[int]) -> torch.Tensor:
        """What the backbone says of view `number` of the pictures at `positions`, in their order.

        Always by `AT_ONCE` pictures, the last of them repeated: then the bits of an answer do not
        depend on the company in which it was asked for.
        """
        asking = self._asking
        found: list[torch.Tensor] = []
        total = self.views * self.size
        done = number * self.size + self.size - len(positions)
        alike = copy.copy(self._loader)
        alike.batch_size = AT_ONCE
        filled = [*positions, *list(positions[-1:]) * (-len(positions) % AT_ONCE)]
        epoch = number + 1 if self._loader.dataset.augment != "none" else 0
        with frozen(self._backbone, asking.device, channels_last=asking.channels_last):
            for batch in alike.once(epoch, filled):
                for _, outputs in batches_that_fit(batch.to(asking.device), self._micro, self._ask):
                    found.append(outputs)
                done = min(done + len(batch), (number + 1) * self.size)
                asking.on_batch(done, total)
        return torch.cat(found)[: len(positions)] if found else torch.empty(0, 0)

    def _ask(self, part: Batch) -> torch.Tensor:
        inputs = laid(part.inputs, channels_last=self._asking.channels_last)
        with self._asking.autocast():
            features: torch.Tensor = self._backbone(inputs)
        return features.float().cpu().contiguous()


class AllAtOnce:
    """Everything that `features` knows as the one batch of each epoch, for what is solved."""

    def __init__(self, features: FeatureLoader) -> None:
        self.features = features
        self.share = (0, 1)

    @property
    def size(self) -> int:
        """Rows: views times pictures."""
        return self.features.size * self.features.views

    def plan(self, epoch: int) -> Plan:
        """One batch."""
        return [range(self.size)]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batch, unless it is over."""
        if start == 0:
            yield self.features.everything()
