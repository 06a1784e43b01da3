"""MixUp and CutMix: a picture with a part of another, and the share of each label."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from opsin.data.augment.augmentation import Mixing
from opsin.data.augment.plan import Floats


class MixUp(Mixing):
    """Levels and labels mixed by a share from Beta(`strength`, `strength`).

    Source: Zhang et al., "mixup: beyond empirical risk minimization" (2018).
    """

    draws = 1

    def boxes_and_weights(
        self, drawn: Floats, height: int, width: int
    ) -> tuple[NDArray[np.int64], Floats, Floats]:
        """See `Mixing`."""
        share = beta(self.strength, drawn[:, 0])
        return np.zeros((len(share), 4), np.int64), share, share


class CutMix(Mixing):
    """A box of the other picture over this one, labels by the area that is left: counted after
    the box is cut off at the border.

    Source: Yun et al., "CutMix" (2019); the box as in torchvision's `CutMix`.
    """

    draws = 3

    def boxes_and_weights(
        self, drawn: Floats, height: int, width: int
    ) -> tuple[NDArray[np.int64], Floats, Floats]:
        """See `Mixing`."""
        half = 0.5 * np.sqrt(1 - beta(self.strength, drawn[:, 0]))
        x, y = np.floor(drawn[:, 1] * width), np.floor(drawn[:, 2] * height)
        half_w, half_h = np.floor(half * width), np.floor(half * height)
        left, right = np.clip((x - half_w, x + half_w), 0, width)
        top, bottom = np.clip((y - half_h, y + half_h), 0, height)
        share = 1 - (right - left) * (bottom - top) / (height * width)
        boxes = np.stack((top, left, bottom, right), axis=1).astype(np.int64)
        return boxes, np.ones_like(share), share


def beta(alpha: float, drawn: Floats) -> Floats:
    """Numbers in [0, 1] from Beta(alpha, alpha) for uniform ones: the inverse of its distribution
    function, from a table (wrong by less than 1e-3).

    >>> beta(1.0, np.array([0.25, 0.5])).round(3).tolist()
    [0.25, 0.5]
    """
    places, below = _table(alpha)
    small = np.minimum(drawn, 1 - drawn)
    found = np.interp(small, below, places)
    return np.where(drawn > 0.5, 1 - found, found)


@functools.lru_cache(maxsize=16)
def _table(alpha: float) -> tuple[Floats, Floats]:
    """Places in [0, 0.5], and the share of Beta(alpha, alpha) below each."""
    # By t = x**alpha the pole at 0 of a density with alpha < 1 is gone: dt = alpha x**(alpha-1) dx.
    powers = max(alpha, 1.0) ** 0.5
    places = 0.5 * np.linspace(0.0, 1.0, 20_001) ** (powers / min(alpha, 1.0))
    t = places**alpha
    density = (1 - places) ** (alpha - 1)
    parts = np.diff(t) * (density[1:] + density[:-1]) / 2
    below = np.concatenate(([0.0], np.cumsum(parts)))
    return places, 0.5 * below / below[-1]
