"""Which samples each batch of an epoch holds: a function of (seed, epoch, source ids) alone."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from opsin.core.seeding import key_of

Row = TypeVar("Row")


Plan = Sequence[Sequence[int]]
"""The positions of each batch."""


def batch_plan(
    ids: Sequence[str],
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool,
    balance: Sequence[Hashable] | None = None,
) -> list[array[int]]:
    """The positions of each batch. A last batch of one joins the one before it, because
    batch-norm cannot learn from a single row.

    `balance`: the class of each sample; the epoch then draws every class equally often.

    >>> [len(batch) for batch in batch_plan(list("abcdefg"), 3, seed=0, epoch=1, shuffle=True)]
    [3, 4]
    """
    order = array("q", range(len(ids)))
    if balance is not None:
        order = array("q", balanced_order(ids, balance, seed=seed, epoch=epoch))
    elif shuffle:
        order = _shuffled(key_of(seed, epoch, name, "order") for name in ids)
    batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    if shuffle and len(batches) > 1 and len(batches[-1]) == 1:
        single = batches.pop()
        batches[-1] += single
    return batches


def _shuffled(keys: Iterable[int]) -> array[int]:
    """Positions in the order of their keys, which as Python's numbers would take 100 bytes each."""
    packed = bytearray()
    for key in keys:
        packed += key.to_bytes(16, "little")
    low, high = np.frombuffer(packed, "<u8").reshape(-1, 2).T
    return array("q", np.lexsort((low, high)).astype(np.int64).tobytes())


def balanced_order(
    ids: Sequence[str], classes: Sequence[Hashable], *, seed: int, epoch: int
) -> list[int]:
    """`len(ids)` positions in mixed order, each class drawn equally often (to one).

    No sample of a class is drawn again before all others of it were: those of a small class within
    the epoch, those of a large class over the epochs, which go on where the one before stopped.

    >>> order = balanced_order(list("abcdefgh"), list("xxxxxxyy"), seed=0, epoch=1)
    >>> [order.count(position) for position in (6, 7)]
    [2, 2]
    """
    members: dict[Hashable, list[int]] = {}
    for position, name in enumerate(classes):
        members.setdefault(name, []).append(position)
    total = len(ids)
    drawn: list[tuple[int, int]] = []
    for number, rows in enumerate(members.values()):
        # Draw t of the whole run belongs to class t modulo K, so quotas even out over epochs.
        first, stop = (
            -((number - total * past) // len(members))
            for past in (max(epoch, 1) - 1, max(epoch, 1))
        )
        if stop - first < len(rows):
            drawn += _passes(ids, rows, first, stop, (seed, "passes"))
        else:
            drawn += _passes(ids, rows, 0, stop - first, (seed, epoch))
    drawn.sort(key=lambda draw: key_of(seed, epoch, ids[draw[0]], "order", draw[1]))
    return [position for position, _ in drawn]


def _passes(
    ids: Sequence[str], rows: Sequence[int], first: int, stop: int, key: tuple[int | str, ...]
) -> list[tuple[int, int]]:
    """Draws `first` to `stop` of an endless row of passes over `rows`, each in its own order, as
    (position, pass).
    """
    found = []
    for number in range(first // len(rows), -(-stop // len(rows))):
        order = sorted(rows, key=lambda row: key_of(*key, number, ids[row], "pass"))
        begin = number * len(rows)
        found += [(row, number) for row in order[max(first - begin, 0) : stop - begin]]
    return found


def share_of(
    plan: Iterable[Sequence[Row]], share: tuple[int, int], *, fill: bool
) -> Iterator[tuple[list[Row], bool]]:
    """What rank `share[0]` of `share[1]` does of each batch: (rows, whether it is a filler).

    A filler, where `fill` asks for one, is the first row of a batch of which the rank has none.

    >>> list(share_of([[4, 5, 6], [7]], (1, 2), fill=True))
    [([5], False), ([7], True)]
    >>> list(share_of([[4, 5, 6], [7]], (1, 2), fill=False))
    [([5], False)]
    """
    rank, processes = share
    for batch in plan:
        mine = list(batch[rank::processes])
        if mine or fill:
            yield mine or [batch[0]], not mine
