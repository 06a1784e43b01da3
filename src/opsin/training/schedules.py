"""Learning-rate schedules: functions from progress in [0, 1] to a share of the peak rate.

A schedule knows neither steps nor epochs, so it needs no state, and a resumed run stands where the
uninterrupted one would. `progress` is the share of the stage's steps that are done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from opsin.core.registry import Registry

Schedule = Callable[[float], float]

SCHEDULES = Registry(
    "schedule",
    [
        (name, f"opsin.training.schedules:{name}")
        for name in (
            "constant",
            "step",
            "multi_step",
            "exponential",
            "polynomial",
            "cosine",
            "cosine_restarts",
            "slanted_triangular",
            "one_cycle",
            "cyclical",
            "plateau",
        )
    ],
)


def constant(progress: float) -> float:
    """The peak rate throughout."""
    return 1.0


def step(progress: float, *, drops: int = 3, factor: float = 0.1) -> float:
    """Times `factor` at `drops` evenly spaced moments.

    >>> [round(step(p), 4) for p in (0.0, 0.3, 0.6, 0.9)]
    [1.0, 0.1, 0.01, 0.001]
    """
    return factor ** min(drops, math.floor(progress * (drops + 1) + 1e-9))


def multi_step(
    progress: float, *, milestones: Sequence[float] = (0.5, 0.75), factor: float = 0.1
) -> float:
    """Times `factor` at each of `milestones`, given as progress."""
    return factor ** sum(progress >= milestone for milestone in milestones)


def exponential(progress: float, *, final: float = 0.01) -> float:
    """Falls by the same share in every step, to `final`."""
    return float(final**progress)


def polynomial(progress: float, *, power: float = 1.0, final: float = 0.0) -> float:
    """(1 - progress) to the `power`, down to `final`; linear by default."""
    return final + (1 - final) * float((1 - progress) ** power)


def cosine(progress: float, *, final: float = 0.0) -> float:
    """Half a cosine from 1 to `final`. Source: Loshchilov and Hutter, SGDR (2017), one period.

    >>> [round(cosine(p), 3) for p in (0, 0.5, 1)]
    [1.0, 0.5, 0.0]
    """
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


def cosine_restarts(
    progress: float, *, cycles: int = 3, shrink: float = 0.5, final: float = 0.0
) -> float:
    """`cycles` half-cosines, each peak `shrink` times the one before. Source: SGDR."""
    number = min(cycles - 1, math.floor(progress * cycles + 1e-9))
    inside = progress * cycles - number
    return final + (shrink**number - final) * (1 + math.cos(math.pi * inside)) / 2


def slanted_triangular(progress: float, *, cut: float = 0.1, ratio: float = 32.0) -> float:
    """Up to 1 within `cut`, then slowly down to 1 / `ratio`. Source: Howard and Ruder, ULMFiT
    (2018), equation 3.
    """
    share = progress / cut if progress < cut else 1 - (progress - cut) / (1 - cut)
    return (1 + share * (ratio - 1)) / ratio


def one_cycle(
    progress: float, *, rise: float = 0.3, start: float = 1 / 25, end: float = 1 / 250_000
) -> float:
    """Cosine up from `start` to 1 within `rise`, cosine down to `end`. Source: Smith and Topin,
    Super-convergence (2018), in the two-phase form of fastai and torch.
    """
    if progress < rise:
        return _anneal(start, 1.0, progress / rise)
    return _anneal(1.0, end, (progress - rise) / (1 - rise))


def cyclical(progress: float, *, cycles: int = 4, low: float = 0.1) -> float:
    """`cycles` triangles between `low` and 1. Source: Smith, Cyclical learning rates (2017)."""
    inside = (progress * cycles) % 1.0
    return low + (1 - low) * (1 - abs(2 * inside - 1))


def plateau(progress: float) -> float:
    """The peak rate, which `callbacks/plateau.py` lowers when the monitor no longer gets better."""
    return 1.0


def with_warmup(schedule: Schedule, warmup: float) -> Schedule:
    """Linear from 0 to the schedule's first value within `warmup`, then the schedule, compressed.

    >>> warm = with_warmup(cosine, 0.1)
    >>> warm(0.05), warm(0.1), round(warm(1.0), 3)
    (0.5, 1.0, 0.0)
    """
    if warmup <= 0:
        return schedule

    def warmed(progress: float) -> float:
        if progress < warmup:
            return schedule(0.0) * progress / warmup
        return schedule((progress - warmup) / (1 - warmup))

    return warmed


def make_schedule(name: str, *, warmup: float = 0.0, **options: float) -> Schedule:
    """The schedule `name` with its options and a linear warm-up. Raises `WrongUsage`."""
    function: Callable[..., float] = SCHEDULES.load(name)
    return with_warmup(partial(function, **options) if options else function, warmup)


def _anneal(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
