"""One thread that prepares the next batch while the step works on this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from opsin.core.cores import usable_cores

Item = TypeVar("Item")
Made = TypeVar("Made")

DEPTH = 2
"""Batches in advance."""
MANY = 4
"""With so many cores, one that prepares is worth more than one that takes part in each step. With 2
that the step keeps busy, ms an epoch with it and without (pizza_steak_sushi, batch 32): tinyvgg at
64 px 198 and 168, with `light` 226 and 182, with `trivial` 241 and 213; cnn3 at 128 px with `light`
574 and 589, with rotation and colours 642 and 632."""


def ahead(
    make: Callable[[Item], Made],
    items: Iterable[Item],
    land: Callable[[Made], Made] = lambda made: made,
    *,
    beforehand: bool = True,
) -> Iterator[Made]:
    """`land(make(item))` for each, in order, up to `DEPTH` of them made beforehand by another
    thread; they land in the thread that wants them.

    Where the step keeps all of fewer than `MANY` cores busy, another thread would only be in its
    way, and nothing is made `beforehand`. What `make` raises is raised where its turn comes.
    """
    cores = usable_cores()
    if not beforehand or (cores < MANY and cores <= torch.get_num_threads()):
        for item in items:
            yield land(make(item))
        return
    waiting: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(1, "opsin-batches")
    try:
        # One core for it: a team of its own would be in the way of the step's. torch makes the
        # number that of all later threads too, which is taken back.
        threads = torch.get_num_threads()
        pool.submit(torch.set_num_threads, 1).result()
        torch.set_num_threads(threads)
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > DEPTH:
                yield land(waiting.popleft().result())
        while waiting:
            yield land(waiting.popleft().result())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
