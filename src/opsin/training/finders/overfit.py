"""The one-batch test: a model that cannot learn one batch by heart has a fault.

Source: Karpathy, A recipe for training neural networks (2019), "overfit one batch".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.core.errors import NumbersWrong
from opsin.core.seeding import torch_seed
from opsin.training.finders.batches import endless
from opsin.training.processes import ALONE
from opsin.training.stage import Stage
from opsin.training.step import Moment, Step
from opsin.training.untouched import untouched

LEARNT = 0.05
"""The loss has to come down to this share of its start."""


@dataclass(frozen=True)
class Memorised:
    """`losses` before each update. `samples`: those of the batch; `learning` of `parameters` are
    changed by the step.
    """

    losses: tuple[float, ...]
    samples: int
    learning: int
    parameters: int
    goal: float = LEARNT

    @property
    def passed(self) -> bool:
        """Whether the loss came down to `goal` of its start."""
        return self.losses[-1] <= self.goal * self.losses[0]

    @property
    def fault(self) -> str:
        """What the losses look like where the test failed: "not finite", "rises", "stands", or
        "falls slowly".
        """
        first, last = self.losses[0], self.losses[-1]
        if not math.isfinite(last):
            return "not finite"
        lowest = min(self.losses)
        if last > first and last > 2 * lowest:
            return "rises"
        return "stands" if lowest > 0.9 * first else "falls slowly"


def overfit(
    stage: Stage,
    *,
    device: torch.device,
    seed: int = 0,
    steps: int = 200,
    goal: float = LEARNT,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Memorised:
    """Train by the step of `stage` on its first batch alone, at the rate `stage.lr`, without
    dropout, until the loss is `goal` of its start or for `steps` steps; afterwards everything is as
    it was.
    """
    step = stage.step
    step.module.to(device)
    batch = next(endless(stage.train)).to(device)
    losses: list[float] = []
    with untouched(step):
        step.begin(device, ALONE)
        step.learn_mode()
        with _no_dropout(step.module):
            for number in range(1, steps + 1):
                losses.append(_learn(step, batch, number, steps, stage.lr, seed))
                on_step(number, steps)
                if not math.isfinite(losses[-1]) or losses[-1] <= goal * losses[0]:
                    break
        counts = [(p.numel(), p.requires_grad) for p in step.module.parameters()]
    on_step(steps, steps)
    learning = sum(count for count, learns in counts if learns)
    return Memorised(tuple(losses), len(batch), learning, sum(count for count, _ in counts), goal)


def _learn(step: Step, batch: Batch, number: int, steps: int, rate: float, seed: int) -> float:
    drawn = torch_seed(seed, "overfit", number)
    torch.manual_seed(drawn)
    moment = Moment(1, number, steps, rate, len(batch), drawn)
    try:
        values = step.learn(batch, moment, lambda optimizer, loss: None)
    except NumbersWrong:  # float16's scale found no gradient that is finite
        return math.nan
    return float(values["loss"].mean())


@contextmanager
def _no_dropout(module: nn.Module) -> Iterator[None]:
    """Layers that drop something by chance, by the names of their classes, in evaluation mode."""
    changed = [part for part in module.modules() if "Drop" in type(part).__name__ and part.training]
    for part in changed:
        part.training = False
    try:
        yield
    finally:
        for part in changed:
            part.training = True
