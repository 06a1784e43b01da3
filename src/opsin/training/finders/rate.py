"""The learning rate range test: let the rate grow step by step, and watch the loss.

Source: Smith, Cyclical learning rates for training neural networks (2015), section 3.3; ramp,
smoothing and end as in fastai's `lr_find`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from opsin.core.errors import NumbersWrong, WrongUsage
from opsin.core.seeding import torch_seed
from opsin.training.finders.batches import endless
from opsin.training.processes import ALONE
from opsin.training.stage import Stage
from opsin.training.step import Moment
from opsin.training.untouched import untouched

SMOOTHING = 0.98
"""Of the moving average, as in fastai."""
DIVERGED = 4.0
"""The test ends where the smoothed loss is so many times its best."""
LEARNT = 0.98
"""A loss that never came down to this share of where it was has found nothing."""


@dataclass(frozen=True)
class RateCurve:
    """`losses[i]` is the loss before the update at `rates[i]`, `smoothed` their moving average.

    `ended`: "diverged", "not finite", or "whole range". `steepest`: the rate at which the smoothed
    loss falls fastest by the logarithm of the rate; `valley`: that in the middle of the longest
    descent. Both are None where the loss did not fall.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    ended: str
    steepest: float | None
    valley: float | None


def rate_range(
    stage: Stage,
    *,
    device: torch.device,
    seed: int = 0,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> RateCurve:
    """Train by the step of `stage` with a rate that grows exponentially from `lowest` to
    `highest`, over as many epochs as it takes; afterwards everything is as it was.

    Ends early where the smoothed loss is four times its best, or a loss is not finite.
    Raises `WrongUsage` for a range that is none.
    """
    if not (0 < lowest < highest < math.inf and steps >= 2):
        raise WrongUsage(
            f"rates grow from above 0, in two steps or more; came {lowest:g} to {highest:g} in "
            f"{steps}",
            where="rates",
        )
    step, batches = stage.step, endless(stage.train)
    step.module.to(device)
    rates: list[float] = []
    losses: list[float] = []
    average, best, ended = 0.0, math.inf, "whole range"
    with untouched(step):
        step.begin(device, ALONE)
        step.learn_mode()
        for number in range(1, steps + 1):
            rate = lowest * (highest / lowest) ** ((number - 1) / (steps - 1))
            batch = next(batches).to(device)
            drawn = torch_seed(seed, "rate", number)
            torch.manual_seed(drawn)
            moment = Moment(1, number, steps, rate, len(batch), drawn)
            try:
                loss = float(step.learn(batch, moment, _nothing)["loss"].mean())
            except NumbersWrong:  # float16's scale found no gradient that is finite
                loss = math.nan
            on_step(number, steps)
            if not math.isfinite(loss):
                ended = "not finite"
                break
            rates.append(rate)
            losses.append(loss)
            average = SMOOTHING * average + (1 - SMOOTHING) * loss
            now = average / (1 - SMOOTHING**number)
            best = min(best, now)
            if now > DIVERGED * best:
                ended = "diverged"
                break
    on_step(steps, steps)
    smoothed = smooth(losses)
    return RateCurve(
        tuple(rates),
        tuple(losses),
        tuple(smoothed),
        ended,
        steepest(rates, smoothed),
        valley(rates, smoothed),
    )


def smooth(values: Sequence[float], beta: float = SMOOTHING) -> list[float]:
    """The exponential moving average, corrected for its start as in Adam.

    >>> [round(value, 3) for value in smooth([1.0, 1.0, 4.0], 0.5)]
    [1.0, 1.0, 2.714]
    """
    found, average = [], 0.0
    for number, value in enumerate(values, start=1):
        average = beta * average + (1 - beta) * value
        found.append(average / (1 - beta**number))
    return found


def steepest(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """The rate where `smoothed` falls fastest by log(rate), by central differences; its first tenth
    is left out, where the average is of a few steps only. Source: Smith (2015).
    """
    first = max(1, len(rates) // 10)
    slopes = {
        rate: (smoothed[at + 1] - smoothed[at - 1]) / math.log(rates[at + 1] / rates[at - 1])
        for at, rate in enumerate(rates)
        if first <= at < len(rates) - 1
    }
    if not slopes or not _fell(smoothed):
        return None
    found = min(slopes, key=lambda rate: slopes[rate])
    return found if slopes[found] < 0 else None


def valley(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """The rate in the middle of the longest falling run of `smoothed`, which may skip points (the
    longest decreasing subsequence). Source: the `valley` of fastai's `lr_find`.
    """
    if not _fell(smoothed):
        return None
    lengths, before = [1] * len(smoothed), [-1] * len(smoothed)
    for at in range(len(smoothed)):
        for earlier in range(at):
            if smoothed[at] < smoothed[earlier] and lengths[at] <= lengths[earlier]:
                lengths[at], before[at] = lengths[earlier] + 1, earlier
    end = start = max(range(len(lengths)), key=lambda at: lengths[at])
    while before[start] >= 0:
        start = before[start]
    return rates[(start + end) // 2]


def _fell(smoothed: Sequence[float]) -> bool:
    highest = -math.inf
    for value in smoothed:
        highest = max(highest, value)
        if value < LEARNT * highest:
            return True
    return False


def _nothing(optimizer: torch.optim.Optimizer, loss: float) -> None:
    """No callback hangs on a trial."""
