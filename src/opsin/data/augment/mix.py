"""Two batches mixed picture by picture."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from opsin.data.augment.plan import Floats


def mix(
    images: torch.Tensor, partners: torch.Tensor, boxes: NDArray[np.int64], weights: Floats
) -> torch.Tensor:
    """`weights` x images + (1 - `weights`) x partners, and inside of `boxes` the partners: a new
    uint8 B C H W, rounded to even.

    `boxes`: int64 B 4 (top, left, bottom, right). `weights`: float64 B.
    """
    mixed = images.clone()
    for row in np.flatnonzero(weights < 1).tolist():
        weight = float(weights[row])
        levels = images[row].to(torch.float32).mul_(weight)
        levels += partners[row].to(torch.float32).mul_(1 - weight)
        mixed[row] = levels.round_().clamp_(0, 255)
    for row in np.flatnonzero(boxes.any(axis=1)).tolist():
        top, left, bottom, right = boxes[row].tolist()
        mixed[row, :, top:bottom, left:right] = partners[row, :, top:bottom, left:right]
    return mixed
