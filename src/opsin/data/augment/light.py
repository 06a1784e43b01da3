"""What is safe for most photos: a mirror, a small shift and zoom, a little light."""

from __future__ import annotations

import numpy as np
import torch

from opsin.core.extras import require


def light(image: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
    """Mirrored with probability .5; shifted up to 8 % and zoomed .9 to 1.1 about the centre;
    brightness and contrast .8 to 1.2.

    uint8 C H W to uint8 C H W. The kernels are torchvision's, the parameters come from `draw`.
    """
    require("torchvision", purpose="--augment light")
    from torchvision.transforms.v2 import functional as kernels

    mirror = draw.random() < 0.5
    shift_x, shift_y = draw.uniform(-0.08, 0.08, 2)
    zoom, brightness, contrast = draw.uniform((0.9, 0.8, 0.8), (1.1, 1.2, 1.2))
    height, width = image.shape[-2:]
    if mirror:
        image = kernels.horizontal_flip(image)
    image = kernels.affine(
        image,
        angle=0.0,
        translate=[float(shift_x * width), float(shift_y * height)],
        scale=float(zoom),
        shear=[0.0, 0.0],
        interpolation=kernels.InterpolationMode.BILINEAR,
    )
    image = kernels.adjust_brightness(image, float(brightness))
    adjusted: torch.Tensor = kernels.adjust_contrast(image, float(contrast))
    return adjusted
