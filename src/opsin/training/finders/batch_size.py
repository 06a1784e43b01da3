"""Which batch fits the memory, and from which size on a larger one is no faster."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from opsin.core.batch import Batch
from opsin.core.device import memory
from opsin.core.errors import NotEnoughMemory
from opsin.core.micro_batch import MicroBatch
from opsin.core.words import size
from opsin.training.finders.batches import batch_of, endless
from opsin.training.memory import MARGIN, StepMemory, losses_of, step_memory
from opsin.training.processes import ALONE
from opsin.training.stage import Stage
from opsin.training.step import Moment
from opsin.training.supervised import SupervisedStep
from opsin.training.untouched import untouched

NEAR_BEST = 0.95
"""The smallest size with this share of the best throughput is recommended."""
REPEATS = 5
IDLE = 3
"""After so many sizes in a row that were no faster the rest is left out: timing is noisy."""
POOL = 64
"""Samples that all trial batches are made of."""
PATIENCE_S = 20.0
"""A step that is expected to take longer is not run."""

Limit = Literal["memory", "data"]


@dataclass(frozen=True)
class Throughput:
    """Samples in a step, seconds it takes (the median of a few), bytes it needs by estimate."""

    samples: int
    seconds: float
    bytes: int

    @property
    def per_second(self) -> float:
        """Samples a second."""
        return self.samples / self.seconds


@dataclass(frozen=True)
class BatchSizes:
    """`largest`: the most samples that a step holds; `limit` says what ends there: the memory, or
    the data (one batch holds it all). `proved`: a step of that size was run. `free`: bytes that
    were available, 0 where unknown.
    """

    largest: int
    limit: Limit
    proved: bool
    free: int
    rows: tuple[Throughput, ...]

    @property
    def best(self) -> Throughput:
        """The smallest size that is nearly as fast as the fastest."""
        fastest = max(row.per_second for row in self.rows)
        return next(row for row in self.rows if row.per_second >= NEAR_BEST * fastest)


def batch_sizes(
    stage: Stage,
    *,
    device: torch.device,
    seconds: float = 60.0,
    available: int | None = None,
    on_size: Callable[[int, int], None] = lambda size, largest: None,
) -> BatchSizes:
    """Run the step of `stage` with batches of 1, 2, 4, ... samples up to what memory and data hold,
    for about `seconds`; afterwards everything is as it was.

    On CPU the largest size is an estimate (see `opsin.training.memory`) that keeps a fifth of the
    memory free, proved by a step unless that would take long: a process that takes too much there
    is killed. Elsewhere it is found by doubling until memory runs out, then bisecting.

    Raises `NotEnoughMemory` when one sample is too many, `TypeError` for a step without a task.
    """
    step = stage.step
    if not isinstance(step, SupervisedStep):
        raise TypeError("sizes are tried on a SupervisedStep")
    step.module.to(device)
    pool = _pool(stage, device)
    free = memory()[1] if available is None else available
    own = step.micro
    try:
        with untouched(step):
            step.begin(device, ALONE)
            step.learn_mode()
            trial = _Trial(step, pool, stage.lr)
            if device.type == "cpu":
                needs = trial.needs()
                fits = needs.samples(int(MARGIN * free)) if free else stage.train.size
                if fits < 1:
                    raise NotEnoughMemory(
                        f"a step of one sample needs about {size(needs.of(1))}; "
                        f"{size(free)} are free",
                        fix="a smaller --image-size, or a smaller --model",
                    )
                largest = min(fits, stage.train.size)
                rows = trial.table(_doubling(largest), seconds, on_size)
                fastest = max(row.per_second for row in rows)
                proved = any(row.samples == largest for row in rows)
                if not proved and largest / fastest < PATIENCE_S:
                    on_size(largest, largest)
                    proved = trial.fits(largest)
                    largest = largest if proved else rows[-1].samples
            else:
                free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free
                largest = trial.bisected(stage.train.size, on_size)
                rows = trial.table(_doubling(largest), seconds, on_size)
                proved = True
    finally:
        step.micro = own
    limit: Limit = "data" if largest == stage.train.size else "memory"
    return BatchSizes(largest, limit, proved, free, tuple(rows))


class _Trial:
    """Steps of any size; weights change, which nobody keeps."""

    def __init__(self, step: SupervisedStep, pool: Batch, rate: float) -> None:
        self._step, self._pool, self._rate = step, pool, rate

    def needs(self) -> StepMemory:
        """The estimate, with the batch itself, which is not there yet."""
        step, inputs = self._step, self._pool.inputs
        found = step_memory(step.module, step.learning, losses_of(step), self._pool)
        batch = inputs.numel() * inputs.element_size() / len(self._pool)
        return StepMemory(found.fixed, found.per_sample + batch)

    def seconds(self, samples: int) -> float:
        """How long a step takes. Raises `NotEnoughMemory` when it does not fit."""
        batch = batch_of(self._pool, samples)
        # A step that does not fit is cut by the step itself: looked for here, not wanted.
        self._step.micro = micro = MicroBatch()
        begin = time.perf_counter()
        moment = Moment(1, 1, 1, self._rate, samples, 0)
        self._step.learn(batch, moment, lambda optimizer, loss: None)
        if batch.inputs.is_cuda:
            torch.cuda.synchronize(batch.inputs.device)
        if micro.size is not None:
            raise NotEnoughMemory(f"a batch of {samples} does not fit")
        return time.perf_counter() - begin

    def fits(self, samples: int) -> bool:
        """Whether a step of so many samples runs in one piece."""
        try:
            self.seconds(samples)
        except NotEnoughMemory:
            return False
        return True

    def bisected(self, most: int, on_size: Callable[[int, int], None]) -> int:
        """The most samples that fit, up to `most`, to a sixteenth."""
        fits, too_many = 0, most + 1
        trial = min(2, most)
        while too_many - fits > max(1, fits // 16):
            on_size(trial, most)
            if self.fits(trial):
                fits = trial
            else:
                too_many = trial
            trial = min(2 * fits, most) if too_many > most else (fits + too_many) // 2
        if not fits:
            raise NotEnoughMemory(
                "a step of one sample does not fit",
                fix="a smaller --image-size, or a smaller --model",
            )
        return fits

    def table(
        self, sizes: Iterator[int], seconds: float, on_size: Callable[[int, int], None]
    ) -> list[Throughput]:
        """Times by size, until time is up or larger ones are no faster."""
        rows: list[Throughput] = []
        needs = self.needs()
        end, idle = time.monotonic() + seconds, 0
        for samples in sizes:
            expected = rows[-1].seconds / rows[-1].samples * samples if rows else 0.0
            if rows and (time.monotonic() + expected * (1 + REPEATS) > end or idle == IDLE):
                break
            on_size(samples, samples)
            self.seconds(samples)  # the first step of a size prepares what later ones reuse
            taken = statistics.median(self.seconds(samples) for _ in range(REPEATS))
            row = Throughput(samples, taken, needs.of(samples))
            best = max((each.per_second for each in rows), default=0.0)
            idle = idle + 1 if row.per_second < best / NEAR_BEST else 0
            rows.append(row)
        return rows


def _pool(stage: Stage, device: torch.device) -> Batch:
    """Up to `POOL` samples of the first batch; two of them at least, for batch-norm's sake."""
    batch = next(endless(stage.train)).to(device)
    return batch_of(batch, max(2, min(POOL, len(batch))))


def _doubling(largest: int) -> Iterator[int]:
    """2, 4, 8, ... up to `largest`: batch-norm cannot learn from one."""
    samples = min(2, largest)
    while samples <= largest:
        yield samples
        samples *= 2
