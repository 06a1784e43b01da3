"""No augmentation."""

from __future__ import annotations

import numpy as np
import torch


def unchanged(image: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
    """The picture as it is; `draw` is not used."""
    return image
