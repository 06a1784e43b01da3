"""What is going to be done to each picture of a batch, as numbers, before a pixel is touched."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEUTRAL = {
    "brightness": 1.0,
    "contrast": 1.0,
    "saturation": 1.0,
    "hue": 0.0,
    "gamma": 1.0,
    "autocontrast": 0.0,
    "equalize": 0.0,
    "posterize": 8.0,
    "solarize": 256.0,
    "sharpness": 1.0,
    "blur": 0.0,
    "noise": 0.0,
}
"""The operations on levels, in the order they are done in, each with the value that changes
nothing: factors; degrees; exponent; 0 or 1; bits; first level turned; sigma px; levels."""


class Plan:
    """The parameters of B pictures of `height` x `width` px; rows do not depend on each other.

    `matrix`: float64 B 3 3, from a point (x, y, 1) of the picture as it was to the same point of
    the result, in px from the upper left corner (not from the first pixel's centre). All
    geometry of a picture is this one matrix, so its boxes and points go through it as they are,
    and a mask is resampled by it with the nearest neighbour (`opsin.data.augment.resample`).

    `rounds`: operations on levels, one dict of name to float64 B for each pass over them.
    `noise_seeds`: int64 B. `holes`: int64 B 4, (top, left, bottom, right) that are erased, empty
    where nothing is. They come after everything else.
    """

    def __init__(self, count: int, height: int, width: int) -> None:
        self.count = count
        self.height = height
        self.width = width
        self.matrix: Floats = np.tile(np.eye(3), (count, 1, 1))
        self.rounds: list[dict[str, Floats]] = [{}]
        self.noise_seeds = np.zeros(count, np.int64)
        self.holes = np.zeros((count, 4), np.int64)
        self._told: list[tuple[NDArray[np.bool_], Callable[[int], str]]] = []

    def move(self, matrices: Floats) -> None:
        """Put `matrices`, float64 B 3 3, behind all geometry so far."""
        self.matrix = np.einsum("bij,bjk->bik", matrices, self.matrix)

    def set_levels(self, name: str, values: Floats, round_number: int = 0) -> None:
        """Operation `name` of `NEUTRAL` with `values`, one for each picture."""
        while len(self.rounds) <= round_number:
            self.rounds.append({})
        self.rounds[round_number][name] = values

    def erase(self, holes: NDArray[np.int64]) -> None:
        """Boxes (top, left, bottom, right), int64 B 4."""
        self.holes = holes

    def tell(self, where: NDArray[np.bool_], words: Callable[[int], str]) -> None:
        """What the preview sheet says: `words(b)` under the pictures b of `where`, bool B."""
        self._told.append((where, words))

    def words(self) -> list[str]:
        """The drawn parameters of each picture, "" for one that stays as it is."""
        return [
            ", ".join(words(b) for where, words in self._told if where[b])
            for b in range(self.count)
        ]


def each(function: Callable[[float], float], values: Floats) -> Floats:
    """`function` of `math` for each value: numpy's own may differ in the last bit between a value
    alone and the same in a row, and a picture must not depend on its batch.

    >>> each(math.sqrt, np.array([4.0, 9.0]))
    array([2., 3.])
    """
    return np.array([function(value) for value in values.tolist()], np.float64)


def tangent_degrees(slope: float) -> float:
    """The angle of a slope.

    >>> round(tangent_degrees(1.0))
    45
    """
    return math.degrees(math.atan(slope))
