"""Which threads, memory layout and precision make a step the fastest here: a few timed steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import torch
from torch import nn

from opsin.core.config import Layout, Precision

ROUNDS = 3
GAIN = 0.95
"""Another choice must take at most this share of the default's time."""
FAULT_S = 5e-4
"""The most that being given a page of memory takes: of 2 MB, which has to be zeroed."""
NEW_MEMORY_FRAC = 0.1
"""A step that may have waited longer than this share of its time for new memory is unlike those
that follow: of `cnn3` at 256 px the first five took 690, 338, 180, 277 and 445 ms, the rest 173."""
HOPELESS = 1.3
"""What took so many times the best in its first timed step gets no second one."""


@dataclass(frozen=True)
class Choice:
    """Settings of the machine that decide speed and last bits, and nothing else."""

    threads: int
    layout: Layout
    precision: Precision


@dataclass(frozen=True)
class Timing:
    """The median of `times` steps with `choice`, after one that was not counted."""

    choice: Choice
    step_s: float
    times: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON; the inverse of `timing_from`."""
        return {**asdict(self.choice), "step_s": self.step_s, "times": self.times}


def timing_from(value: dict[str, Any]) -> Timing:
    """Raises `KeyError`, `TypeError`, `ValueError` for what `to_dict` did not make."""
    choice = Choice(int(value["threads"]), value["layout"], value["precision"])
    timing = Timing(choice, float(value["step_s"]), int(value["times"]))
    known = choice.layout in ("contiguous", "channels_last")
    known &= choice.precision in ("float32", "bfloat16", "float16")
    if not known or choice.threads < 1 or not 0 <= timing.step_s < math.inf:
        raise ValueError(f"no timing: {value}")
    return timing


def probe(
    default: Choice,
    run: Callable[[Choice], None],
    *,
    limit: Callable[[float], float],
    layouts: Iterable[Layout] = (),
    precisions: Iterable[Precision] = (),
    threads: Iterable[int] = (),
    clock: Callable[[], float] = time.perf_counter,
    faults: Callable[[], int] = lambda: 0,
) -> list[Timing]:
    """Time `run(choice)`, one step, for `default` and what else is allowed; the chosen one first.

    Layout and precision are chosen with the default's threads, and then the threads. `limit` tells
    from the seconds of a step of the default how many seconds everything may take: what is not
    timed twice by then is not chosen. The default stays unless another takes `GAIN` of its time.
    `faults`: the pages of memory that the process was given so far. Where freed memory is held,
    the first steps that wait for more of it are not like those of a run, and do not count.
    """
    watch = _Watch(run, clock)
    watch.warm(default)
    for _ in range(ROUNDS):
        watch.times[default], before = [], faults()
        watch.time(default)
        if not awaits_memory(watch.times[default][0], faults() - before):
            break
    watch.until = watch.began + limit(watch.median(default))
    among = [
        Choice(default.threads, layout, precision)
        for layout in dict.fromkeys([default.layout, *layouts])
        for precision in dict.fromkeys([default.precision, *precisions])
    ]
    chosen = watch.fastest([default, *(each for each in among if each != default)])
    fewer = [replace(chosen, threads=each) for each in threads if each != chosen.threads]
    chosen = watch.fastest([chosen, *fewer])
    others = [choice for choice, times in watch.times.items() if times and choice != chosen]
    return [watch.timing(choice) for choice in [chosen, *others]]


def awaits_memory(seconds: float, faults: int) -> bool:
    """Whether a step of so many seconds may owe some of them to new memory."""
    return faults * FAULT_S > NEW_MEMORY_FRAC * seconds


def apply(choice: Choice, module: nn.Module) -> None:
    """Threads of torch, and the layout of the convolutions' weights; inputs follow them."""
    torch.set_num_threads(choice.threads)
    lay_out(module, choice.layout)


@torch.no_grad()
def lay_out(module: nn.Module, layout: Layout) -> None:
    """Lay weights of four dimensions in memory with the channels last, or plainly."""
    kind = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    for value in module.parameters():
        if value.ndim == 4:
            value.data = value.data.contiguous(memory_format=kind)


def has_layouts(module: nn.Module) -> bool:
    """Whether any weight can lie in memory in two ways."""
    return any(each.ndim == 4 and min(each.shape[1:]) > 0 for each in module.parameters())


class _Watch:
    """Steps timed so far, by choice."""

    def __init__(self, run: Callable[[Choice], None], clock: Callable[[], float]) -> None:
        self.run, self.clock = run, clock
        self.times: dict[Choice, list[float]] = {}
        self.began = clock()
        self.until = float("inf")

    def fastest(self, choices: Sequence[Choice]) -> Choice:
        """Time them in turns; the first of them unless another is clearly faster."""
        first, hopeful = choices[0], list(choices)
        for each in choices:
            if each not in self.times and not self._over(2 * self.median(first)):
                self.warm(each)
        hopeful = [each for each in choices if each in self.times]
        for _ in range(ROUNDS if len(hopeful) > 1 else 0):
            for each in hopeful:
                if not self._over(self.median(first)):
                    self.time(each)
            best = min(self.median(each) for each in hopeful if self.times[each])
            hopeful = [
                each
                for each in hopeful
                if each == first or (self.times[each] and self.median(each) <= HOPELESS * best)
            ]
        twice = [each for each in choices if len(self.times.get(each, ())) > 1]
        found = min(twice, key=self.median, default=first)
        if found != first and self.median(found) > GAIN * self.median(first):
            return first
        return found

    def warm(self, choice: Choice) -> None:
        """A step that is not counted: the first one prepares what later ones find."""
        self.run(choice)
        self.times.setdefault(choice, [])

    def time(self, choice: Choice) -> None:
        """A step that is."""
        begin = self.clock()
        self.run(choice)
        self.times[choice].append(self.clock() - begin)

    def median(self, choice: Choice) -> float:
        return median(self.times[choice])

    def timing(self, choice: Choice) -> Timing:
        times = self.times[choice]
        return Timing(choice, median(times) if times else 0.0, len(times))

    def _over(self, needs: float) -> bool:
        return self.clock() + needs > self.until
