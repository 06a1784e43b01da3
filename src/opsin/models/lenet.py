"""The LeNet family of the malaria lesson (row A2): two convolutions with batch-norm, two dense."""

from __future__ import annotations

from torch import nn

from opsin.models.classifier import Classifier, flat_size


class LeNet(Classifier):
    """conv6-BN-pool, conv16-BN-pool, dense 100-BN, dense 10-BN, head; 4,668,297 parameters for
    one output at 224 px (running statistics counted).

    Input: float32 B C H W; output: B `num_outputs` logits. After LeCun et al. (1998).
    """

    image_size_px = 224

    def __init__(self, num_outputs: int, image_size: int = 224, in_chans: int = 3):
        super().__init__()
        convolutions = nn.Sequential(  # at 224 px:
            nn.Conv2d(in_chans, 6, 3),  # B 6 222 222
            nn.ReLU(),
            nn.BatchNorm2d(6),
            nn.MaxPool2d(2),  # B 6 111 111
            nn.Conv2d(6, 16, 3),  # B 16 109 109
            nn.ReLU(),
            nn.BatchNorm2d(16),
            nn.MaxPool2d(2),  # B 16 54 54
            nn.Flatten(),  # B 46656
        )
        self.backbone = nn.Sequential(
            *convolutions,
            nn.Linear(flat_size(convolutions, in_chans, image_size), 100),  # B 100
            nn.ReLU(),
            nn.BatchNorm1d(100),
            nn.Linear(100, 10),  # B 10
            nn.ReLU(),
            nn.BatchNorm1d(10),
        )
        self.head = nn.Linear(10, num_outputs)
