"""Datasets that draw for themselves, from torch, numpy or `random`: their draws by a key."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from opsin.core.seeding import torch_seed

Key = tuple[int, int, int, Any]
"""(epoch, number of the batch, row in the whole batch, position in the dataset)."""


def set_draws(*parts: int | str) -> None:
    """Seed the global generators of torch (on the processor), numpy and `random` by `parts`."""
    number = torch_seed(*parts)
    torch.default_generator.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)


@contextmanager
def draws_put_back() -> Iterator[None]:
    """Whatever is seeded or drawn inside, the caller's generators go on as if it had not been."""
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])


class KeyedDataset:
    """`dataset` asked by keys: what it draws for a sample is a function of (seed, epoch, batch,
    row), and what `collate` draws one of (seed, epoch, batch). So it is the same in every worker
    and after every restart. A generator that the dataset holds itself is out of reach.
    """

    def __init__(
        self, dataset: Any, collate: Callable[[list[Any]], Any], *, seed: int, name: str
    ) -> None:
        self._dataset = dataset
        self._collate = collate
        self._seed = seed
        self._name = name

    def __getitems__(self, keys: list[Key]) -> Any:
        """The samples of `keys`, collated."""
        with draws_put_back():
            samples = []
            for epoch, number, row, position in keys:
                set_draws(self._seed, self._name, epoch, number, row, "sample")
                samples.append(self._dataset[position])
            epoch, number, _, _ = keys[0]
            set_draws(self._seed, self._name, epoch, number, "collate")
            return self._collate(samples)
