"""What every augmentation is: numbers drawn for each picture, made into a part of the plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from opsin.data.augment.plan import Floats, Plan


class Augmentation(ABC):
    """`strength` as in `opsin.core.augment`; 0.0 for one that takes none.

    `draws`: how many uniform numbers it needs for a picture.
    """

    draws: ClassVar[int]

    def __init__(self, strength: float) -> None:
        self.strength = strength

    @abstractmethod
    def add_to(self, plan: Plan, drawn: Floats) -> None:
        """Write into `plan` what `drawn`, float64 B `draws` in [0, 1), means for each picture."""


class Mixing(ABC):
    """Pictures mixed with others. `strength` is the alpha of Beta(alpha, alpha), which the share
    comes from.
    """

    draws: ClassVar[int]

    def __init__(self, strength: float) -> None:
        self.strength = strength

    @abstractmethod
    def boxes_and_weights(
        self, drawn: Floats, height: int, width: int
    ) -> tuple[NDArray[np.int64], Floats, Floats]:
        """For `drawn`, float64 B `draws`: the box (top, left, bottom, right) that is the other
        picture's, int64 B 4; the weight of the first picture outside of it, float64 B; the share
        of the first picture's label, float64 B.
        """


def between(low: float, high: float, drawn: Floats) -> Floats:
    """Uniform numbers of [0, 1) stretched to [low, high).

    >>> between(-1, 1, np.array([0.0, 0.5, 0.75])).tolist()
    [-1.0, 0.0, 0.5]
    """
    return low + (high - low) * drawn


def around(strength: float, drawn: Floats) -> Floats:
    """Factors from 1 - strength to 1 + strength."""
    return between(1.0 - strength, 1.0 + strength, drawn)
