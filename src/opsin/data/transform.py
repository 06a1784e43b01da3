"""The float part of the `PreprocessSpec`, in torch, for the loop."""

from __future__ import annotations

import torch
from torch import nn

from opsin.core.preprocess import PreprocessSpec


class Normalise(nn.Module):
    """uint8 B C H W of `prepared_px` to float32 B C H W of `size_px`: centre, /255, mean, std."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, spec: PreprocessSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1))

    def forward(self, prepared: torch.Tensor) -> torch.Tensor:
        """The normalised batch."""
        top, left = self.spec.margin_px
        height, width = self.spec.size_px
        centre = prepared[:, :, top : top + height, left : left + width]
        return (centre.float() / 255 - self.mean) / self.std
