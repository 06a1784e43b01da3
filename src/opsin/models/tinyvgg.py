"""TinyVGG, the small VGG of CNN Explainer (Wang et al., 2020) without padding."""

from __future__ import annotations

from torch import nn

from opsin.models.classifier import Classifier, flat_size


class TinyVGG(Classifier):
    """Two blocks of (conv3x3-ReLU) x 2 and a pool, then one linear layer; 8,083 parameters for
    3 outputs at 64 px.

    Input: float32 B C H W; output: B `num_outputs` logits. The source has each block's second ReLU
    before the pool; after it outputs and gradients are the same to the bit, for a quarter of the
    work.
    """

    image_size_px = 64

    def __init__(self, num_outputs: int, image_size: int = 64, in_chans: int = 3, width: int = 10):
        super().__init__()
        self.backbone = nn.Sequential(  # at 64 px:
            nn.Conv2d(in_chans, width, 3),  # B 10 62 62
            nn.ReLU(),
            nn.Conv2d(width, width, 3),  # B 10 60 60
            nn.MaxPool2d(2),  # B 10 30 30
            nn.ReLU(),
            nn.Conv2d(width, width, 3),  # B 10 28 28
            nn.ReLU(),
            nn.Conv2d(width, width, 3),  # B 10 26 26
            nn.MaxPool2d(2),  # B 10 13 13
            nn.ReLU(),
            nn.Flatten(),  # B 1690
        )
        self.head = nn.Linear(flat_size(self.backbone, in_chans, image_size), num_outputs)
