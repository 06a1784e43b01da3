"""The learning rate range test: let the rate grow step by step, and watch the loss.

Source: Smith, Cyclical learning rates for training neural networks (2015), section 3.3; ramp, kind
of smoothing and end as in fastai's `lr_find`.
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

SMOOTHING = 0.9
"""Of the moving average. fastai's .98 lags half the ramp behind, and sees divergence late."""
DIVERGED = 4.0
"""The test ends where the smoothed loss is so many times its best."""
LEARNT = 0.98
"""A loss that never came down to this share of where it was has found nothing: the noise of
batches alone moves the average by 1 %."""


@dataclass(frozen=True)
class RateCurve:
    """`losses[i]` is the loss before the update at `rates[i]`, `smoothed` their moving average.

    `ended`: "diverged", "not finite", or "whole range". Three suggestions, all None where the loss
    did not fall: `tenth`: a tenth of the rate with the lowest smoothed loss; `valley`: the rate in
    the middle of the longest descent; `steepest`: that where the loss falls fastest by log(rate).
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    ended: str

    @property
    def found(self) -> bool:
        """Whether any rate lowered the loss."""
        highest = -math.inf
        for value in self.smoothed:
            highest = max(highest, value)
            if value < LEARNT * highest:
                return True
        return False

    @property
    def tenth(self) -> float | None:
        """Far enough from where the loss turns up. Of the three it came nearest to the best rate in
        our trials: `valley` was several times too low, `steepest` stood on the edge. Source:
        the `minimum` of fastai's `lr_find`.
        """
        return self._descent[0][-1] / 10 if self.found else None

    @property
    def valley(self) -> float | None:
        """Of the points up to the lowest. Source: the `valley` of fastai's `lr_find`."""
        return longest_descent(*self._descent) if self.found else None

    @property
    def steepest(self) -> float | None:
        """Of the points up to the lowest. Source: Smith (2015)."""
        return fastest_descent(*self._descent) if self.found else None

    @property
    def _descent(self) -> tuple[Sequence[float], Sequence[float]]:
        """Rates and smoothed losses up to the lowest."""
        end = self.smoothed.index(min(self.smoothed)) + 1
        return self.rates[:end], self.smoothed[:end]


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
    return RateCurve(tuple(rates), tuple(losses), tuple(smooth(losses)), ended)


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


def fastest_descent(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """The rate where `smoothed` falls fastest by log(rate), by central differences; its first tenth
    is left out, where the average is of a few steps only. None where it never falls.
    """
    slopes = {
        rates[at]: (smoothed[at + 1] - smoothed[at - 1]) / math.log(rates[at + 1] / rates[at - 1])
        for at in range(max(1, len(rates) // 10), len(rates) - 1)
    }
    found = min(slopes, key=lambda rate: slopes[rate], default=None)
    return found if found is not None and slopes[found] < 0 else None


def longest_descent(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """The rate in the middle of the longest decreasing subsequence of `smoothed`, which
    begins where a level stretch ends. None where it never falls.
    """
    lengths, before = [1] * len(smoothed), [-1] * len(smoothed)
    for at in range(len(smoothed)):
        for earlier in range(at):
            if smoothed[at] < smoothed[earlier] and lengths[at] <= lengths[earlier] + 1:
                lengths[at], before[at] = lengths[earlier] + 1, earlier
    end = start = max(range(len(lengths)), key=lambda at: lengths[at], default=0)
    while before and before[start] >= 0:
        start = before[start]
    return rates[(start + end) // 2] if end > start else None


def _nothing(optimizer: torch.optim.Optimizer, loss: float) -> None:
    """No callback hangs on a trial."""
