"""The three-convolution network of the happy/sad lesson (row A1)."""

from __future__ import annotations

from torch import nn

from opsin.models.classifier import Classifier, flat_size


class CNN3(Classifier):
    """conv16-pool, conv32-pool, conv16-pool, dense 256, head; 3,696,625 parameters for one output
    at 256 px.

    Input: float32 B C H W; output: B `num_outputs` logits. The lesson has ReLU before the pool;
    after it outputs and gradients are the same to the bit, and there is a quarter of the work.
    """

    image_size_px = 256

    def __init__(self, num_outputs: int, image_size: int = 256, in_chans: int = 3):
        super().__init__()
        convolutions = nn.Sequential(  # at 256 px:
            nn.Conv2d(in_chans, 16, 3),  # B 16 254 254
            nn.MaxPool2d(2),  # B 16 127 127
            nn.ReLU(),
            nn.Conv2d(16, 32, 3),  # B 32 125 125
            nn.MaxPool2d(2),  # B 32 62 62
            nn.ReLU(),
            nn.Conv2d(32, 16, 3),  # B 16 60 60
            nn.MaxPool2d(2),  # B 16 30 30
            nn.ReLU(),
            nn.Flatten(),  # B 14400
        )
        self.backbone = nn.Sequential(
            *convolutions,
            nn.Linear(flat_size(convolutions, in_chans, image_size), 256),  # B 256
            nn.ReLU(),
        )
        self.head = nn.Linear(256, num_outputs)
