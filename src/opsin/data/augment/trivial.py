"""TrivialAugment Wide: one operation of fourteen, at a random strength.

Source: Müller and Hutter, "TrivialAugment: tuning-free yet state-of-the-art data augmentation"
(2021); strengths as torchvision's `TrivialAugmentWide` (31 bins).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from opsin.core.extras import require

BINS = 31
OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)


def trivial_augment_wide(image: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
    """One random operation; uint8 C H W to uint8 C H W.

    The kernels are torchvision's, the choice and its strength come from `draw`.
    """
    name = OPERATIONS[int(draw.integers(len(OPERATIONS)))]
    strength = int(draw.integers(BINS)) / (BINS - 1)
    sign = -1.0 if draw.random() < 0.5 else 1.0
    return apply(name, image, strength, sign)


def apply(name: str, image: torch.Tensor, strength: float, sign: float) -> torch.Tensor:
    """Operation `name` at `strength` in [0, 1]; `sign` (-1 or 1) turns those that have a side."""
    require("torchvision", purpose="--augment trivial")
    from torchvision.transforms.v2 import functional as kernels

    factor = 1 + sign * 0.99 * strength
    result: Any
    match name:
        case "identity":
            result = image
        case "shear_x":
            result = _affine(kernels, image, shear=(_degrees(sign * 0.99 * strength), 0.0))
        case "shear_y":
            result = _affine(kernels, image, shear=(0.0, _degrees(sign * 0.99 * strength)))
        case "translate_x":
            result = _affine(kernels, image, translate=(sign * 32 * strength, 0.0))
        case "translate_y":
            result = _affine(kernels, image, translate=(0.0, sign * 32 * strength))
        case "rotate":
            result = kernels.rotate(image, angle=sign * 135 * strength)
        case "brightness":
            result = kernels.adjust_brightness(image, factor)
        case "color":
            result = kernels.adjust_saturation(image, factor)
        case "contrast":
            result = kernels.adjust_contrast(image, factor)
        case "sharpness":
            result = kernels.adjust_sharpness(image, factor)
        case "posterize":
            result = kernels.posterize(image, 8 - round(6 * strength))
        case "solarize":
            result = kernels.solarize(image, 255 * (1 - strength))
        case "autocontrast":
            result = kernels.autocontrast(image)
        case "equalize":
            result = kernels.equalize(image)
        case _:
            raise ValueError(f"no operation {name}")
    changed: torch.Tensor = result
    return changed


def _degrees(slope: float) -> float:
    return math.degrees(math.atan(slope))


def _affine(
    kernels: Any,
    image: torch.Tensor,
    *,
    translate: tuple[float, float] = (0.0, 0.0),
    shear: tuple[float, float] = (0.0, 0.0),
) -> Any:
    # The corner is the centre of the shear, as in the reference implementation.
    return kernels.affine(
        image,
        angle=0.0,
        translate=list(translate),
        scale=1.0,
        shear=list(shear),
        center=[0, 0] if any(shear) else None,
    )
