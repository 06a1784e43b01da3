"""How bright a colour looks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GREY = (0.2989, 0.587, 0.114)
"""Of red, green and blue, as torchvision rounds ITU-R BT.601."""


def grey_weights(channels: int) -> NDArray[np.float64]:
    """The share of each channel, float64 C; all the same where they are not three.

    >>> grey_weights(2).tolist()
    [0.5, 0.5]
    """
    return np.array(GREY) if channels == 3 else np.full(channels, 1 / channels)
