"""Policies: operations chosen at random for each picture, with strengths that need no search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsin.data.augment import matrices
from opsin.data.augment.augmentation import Augmentation
from opsin.data.augment.geometry import rotate
from opsin.data.augment.plan import NEUTRAL, Floats, Plan

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "saturation",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
BINS = 31


@dataclass(frozen=True)
class Space:
    """What full strength means: slope; px along the width and height; degrees; distance of a
    factor from 1; bits taken away.
    """

    slope: float
    shift: Callable[[int], float]
    degrees: float
    factor: float
    bits: int


WIDE = Space(0.99, lambda side_px: 32.0, 135.0, 0.99, 6)
USUAL = Space(0.3, lambda side_px: 150 / 331 * side_px, 30.0, 0.9, 4)


class Trivial(Augmentation):
    """TrivialAugment Wide: one operation of fourteen, at one of 31 strengths, either way.

    Source: Müller and Hutter, "TrivialAugment: tuning-free yet state-of-the-art data augmentation"
    (2021); strengths as torchvision's `TrivialAugmentWide`, resampled bilinearly.
    """

    draws = 3

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        strength = np.floor(drawn[:, 1] * BINS) / (BINS - 1)
        operate(plan, 1, _operation(drawn[:, 0]), strength, _sign(drawn[:, 2]), WIDE)


class RandAugment(Augmentation):
    """RandAugment: two operations of fourteen one after the other, at magnitude `strength` of 30,
    either way. What they move is put together and resampled once, before levels change.

    Source: Cubuk et al., "RandAugment" (2019); magnitudes as torchvision's `RandAugment`.
    """

    draws = 4
    operations = 2

    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """See `Augmentation`."""
        strength = np.full(plan.count, self.strength / (BINS - 1))
        first = len(plan.rounds)
        for number in range(self.operations):
            chosen = _operation(drawn[:, 2 * number])
            operate(plan, first + number, chosen, strength, _sign(drawn[:, 2 * number + 1]), USUAL)


def operate(
    plan: Plan,
    round_number: int,
    chosen: NDArray[np.int64],
    strength: Floats,
    sign: Floats,
    space: Space,
) -> None:
    """Write operation `chosen[b]` (a place in `OPERATIONS`) at `strength[b]` in [0, 1] into the
    plan; `sign[b]`, -1 or 1, turns those that have a side.
    """
    towards = sign * strength
    moved = {
        "shear_x": (towards * space.slope, lambda v: f"shear x {v:+.2f}"),
        "shear_y": (towards * space.slope, lambda v: f"shear y {v:+.2f}"),
        "translate_x": (np.trunc(towards * space.shift(plan.width)), _px("x")),
        "translate_y": (np.trunc(towards * space.shift(plan.height)), _px("y")),
        "rotate": (-towards * space.degrees, lambda v: f"rotate {v:+.0f}°"),
    }
    factor = 1 + towards * space.factor
    levels = {
        "brightness": (factor, lambda v: f"brightness ×{v:.2f}"),
        "saturation": (factor, lambda v: f"saturation ×{v:.2f}"),
        "contrast": (factor, lambda v: f"contrast ×{v:.2f}"),
        "sharpness": (factor, lambda v: f"sharpness ×{v:.2f}"),
        "posterize": (8 - np.round(space.bits * strength), lambda v: f"{v:.0f} bits"),
        "solarize": (np.round(255 * (1 - strength), 6), lambda v: f"solarize from {v:.0f}"),
        "autocontrast": (np.ones_like(strength), lambda v: "autocontrast"),
        "equalize": (np.ones_like(strength), lambda v: "equalize"),
    }
    for number, name in enumerate(OPERATIONS):
        where = chosen == number
        if name == "identity" or not where.any():
            continue
        values, words = moved.get(name) or levels[name]
        if name in levels:
            values = np.where(where, values, NEUTRAL[name])
            plan.set_levels(name, values, round_number)
        else:
            values = np.where(where, values, 0.0)
            _move(plan, name, values)
        plan.tell(where, _teller(words, values))


def _teller(words: Callable[[Any], str], values: Floats) -> Callable[[int], str]:
    return lambda b: words(values[b])


def _px(side: str) -> Callable[[Any], str]:
    return lambda v: f"shift {side} {v:+.0f} px"


def _move(plan: Plan, name: str, values: Floats) -> None:
    zero = np.zeros_like(values)
    if name == "rotate":
        rotate(plan, values)
    elif name == "shear_x":
        plan.move(matrices.slants(values, zero))
    elif name == "shear_y":
        plan.move(matrices.slants(zero, values))
    elif name == "translate_x":
        plan.move(matrices.shifts(values, zero))
    else:
        plan.move(matrices.shifts(zero, values))


def _operation(drawn: Floats) -> NDArray[np.int64]:
    return np.floor(drawn * len(OPERATIONS)).astype(np.int64)


def _sign(drawn: Floats) -> Floats:
    return np.where(drawn < 0.5, -1.0, 1.0)
