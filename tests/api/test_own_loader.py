"""A DataLoader as an epoch loader: the same samples, and every epoch as often as one likes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tests.api.own_parts_of_tests import Noisy
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    TensorDataset,
    WeightedRandomSampler,
)

from opsin.core.batch import Batch
from opsin.core.errors import DataRefused, WrongUsage
from opsin.data.own_loader import OwnLoader


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        a.ids == b.ids and torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets)
        for a, b in zip(first, second, strict=True)
    )


def points(count: int = 10) -> TensorDataset:
    return TensorDataset(torch.arange(count).float()[:, None], torch.arange(count))


def test_without_shuffling_it_gives_what_torch_gives() -> None:
    plain = DataLoader(points(), batch_size=4)
    batches = list(OwnLoader(plain).epoch(1))
    for (inputs, targets), batch in zip(plain, batches, strict=True):
        assert torch.equal(batch.inputs, inputs)
        assert torch.equal(batch.targets, targets)
    assert batches[2].ids == ("train/8", "train/9")


def test_an_epoch_can_be_repeated_begun_in_the_middle_and_left_to_workers() -> None:
    own = OwnLoader(DataLoader(Noisy(22), batch_size=4, shuffle=True), seed=5)
    whole = list(own.epoch(3))
    assert len(whole) == len(own.plan(3)) == 6
    assert [len(batch) for batch in whole] == [len(rows) for rows in own.plan(3)]
    assert same(whole, list(own.epoch(3)))
    assert same(whole[4:], list(own.epoch(3, start=4)))
    workers = OwnLoader(DataLoader(Noisy(22), batch_size=4, shuffle=True, num_workers=2), seed=5)
    assert same(whole[1:], list(workers.epoch(3, start=1)))
    assert not same(whole, list(own.epoch(4)))
    other = OwnLoader(DataLoader(Noisy(22), batch_size=4, shuffle=True), seed=6)
    assert not same(whole, list(other.epoch(3)))


def test_a_worker_that_dies_costs_nothing() -> None:
    said: list[str] = []
    loader = DataLoader(Fatal(12), batch_size=4, num_workers=1)
    own = OwnLoader(loader, say=said.append)
    assert [batch.ids[0] for batch in own.epoch(1)] == ["train/0", "train/4", "train/8"]
    assert len(said) == 1
    assert said[0].startswith("a loader worker was lost")


class Fatal(Noisy):
    """Ends the worker that asks for sample 5."""

    def __getitem__(self, position: int) -> Any:
        import os

        if position == 5 and torch.utils.data.get_worker_info():
            os._exit(1)
        return super().__getitem__(position)


def test_validation_is_the_same_in_every_epoch() -> None:
    loader = DataLoader(Noisy(10), batch_size=4, shuffle=True)
    own = OwnLoader(loader, "val", learns=False)
    assert same(list(own.epoch(1)), list(own.epoch(2)))


def test_nobodys_generator_is_moved() -> None:
    mine = torch.Generator().manual_seed(9)
    loader = DataLoader(Noisy(10), batch_size=4, shuffle=True, generator=mine)
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
    state = mine.get_state()
    list(OwnLoader(loader).epoch(1))
    after = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert torch.equal(state, mine.get_state())


def test_every_process_has_its_rows_with_the_same_draws() -> None:
    whole, parts = OwnLoader(DataLoader(Noisy(9), batch_size=4, shuffle=True)), []
    for rank in (0, 1):
        own = OwnLoader(DataLoader(Noisy(9), batch_size=4, shuffle=True))
        own.share = (rank, 2)
        parts.append(list(own.epoch(1)))
    for batch, first, second in zip(whole.epoch(1), *parts, strict=True):
        assert torch.equal(batch.inputs[0::2], first.inputs)
        assert second.filler or torch.equal(batch.inputs[1::2], second.inputs)
    assert parts[1][-1].filler


@pytest.mark.parametrize(
    "arguments",
    [
        {"sampler": WeightedRandomSampler([1.0] * 9 + [9.0], 12), "batch_size": 5},
        {"batch_sampler": BatchSampler(RandomSampler(range(10)), 3, drop_last=True)},
        {"batch_size": 3, "shuffle": True, "generator": torch.Generator()},
        {"batch_size": 3, "shuffle": True, "drop_last": True},
    ],
)
def test_any_order_that_draws_from_what_can_be_seeded(arguments: dict[str, Any]) -> None:
    own = OwnLoader(DataLoader(points(), **arguments))
    first = list(own.epoch(1))
    torch.rand(1)
    assert same(first, list(own.epoch(1)))
    assert not same(first, list(own.epoch(2)))
    assert own.size == sum(map(len, first))


def test_targets_may_be_several() -> None:
    class Two(Noisy):
        def __getitem__(self, position: int) -> Any:
            x, y = super().__getitem__(position)
            return x, (y, {"twice": 2 * y})

    (batch,) = OwnLoader(DataLoader(Two(3, 0.0), batch_size=3)).epoch(1)
    y, more = batch.targets
    assert torch.equal(more["twice"], 2 * y)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([(torch.zeros(1), torch.zeros(1))])


class OwnIteration(DataLoader[Any]):
    def __iter__(self) -> Any:
        return super().__iter__()


class Stubborn(Sampler[int]):
    """Shuffles by a generator that it keeps to itself."""

    def __init__(self) -> None:
        self._draw = random.Random(0)

    def __iter__(self) -> Iterator[int]:
        return iter(self._draw.sample(range(10), 10))

    def __len__(self) -> int:
        return 10


class Endless(Sampler[int]):
    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0

    def __len__(self) -> int:
        return 10


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        ([1, 2], "wanted is a torch.utils.data.DataLoader, came list"),
        (DataLoader(Stream()), "IterableDataset can only be read from its beginning"),
        (DataLoader(points(), batch_size=None), "batch_size=None"),
        (OwnIteration(points()), "OwnIteration has an __iter__ of its own"),
        (DataLoader(points(), sampler=Stubborn()), "another order each time"),
    ],
)
def test_what_cannot_be_repeated_is_refused(loader: Any, words: str) -> None:
    with pytest.raises(WrongUsage, match=words) as caught:
        OwnLoader(loader)
    assert caught.value.where == "data (train)"
    assert caught.value.fix


def test_a_length_that_is_not_kept_is_refused() -> None:
    with pytest.raises(DataRefused, match="says that it has 10 batches and gives more"):
        OwnLoader(DataLoader(points(), sampler=Endless()))
    with pytest.raises(DataRefused, match="gives none"):
        OwnLoader(DataLoader(points(3), batch_size=4, drop_last=True))


class Given(Dataset[Any]):
    def __init__(self, *samples: Any) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: int) -> Any:
        return self.samples[position]


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        (DataLoader(Given({"x": 1.0, "y": 2.0})), "came a dict of x, y"),
        (DataLoader(TensorDataset(torch.zeros(3, 1))), "came a list of 1"),
        (
            DataLoader(Given(({"a": 1.0}, 2.0))),
            "inputs of a batch are one tensor, came a dict of a",
        ),
        (
            DataLoader(points(), batch_size=4, collate_fn=lambda rows: (torch.zeros(3, 1), 0)),
            "a batch of 4 samples has a tensor 3 x 1",
        ),
    ],
)
def test_other_batches_are_refused(loader: Any, words: str) -> None:
    with pytest.raises(WrongUsage, match=words):
        list(OwnLoader(loader).epoch(1))
