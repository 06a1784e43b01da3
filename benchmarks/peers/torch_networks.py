"""The networks, layer by layer as a course writes them in torch."""

from __future__ import annotations

import torch
from torch import nn


def build(name: str, classes: int) -> nn.Module:
    """Tinyvgg for 64 px, cnn3 for 256 px, or one of timm's."""
    if name == "tinyvgg":
        return nn.Sequential(
            nn.Conv2d(3, 10, 3),
            nn.ReLU(),
            nn.Conv2d(10, 10, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(10, 10, 3),
            nn.ReLU(),
            nn.Conv2d(10, 10, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(10 * 13 * 13, classes),
        )
    if name == "cnn3":
        return nn.Sequential(
            nn.Conv2d(3, 16, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 16, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 30 * 30, 256),
            nn.ReLU(),
            nn.Linear(256, classes),
        )
    import timm

    return timm.create_model(name, num_classes=classes)


def frozen(weights: str, classes: int) -> nn.Module:
    """mobilenetv2_100 with these weights, all but a new head fixed, its statistics too."""
    import timm
    from safetensors.torch import load_file

    network = timm.create_model("mobilenetv2_100", num_classes=classes, pad_type="same")
    known = {k: v for k, v in load_file(weights).items() if not k.startswith("classifier")}
    missing, unknown = network.load_state_dict(known, strict=False)
    assert not unknown, unknown
    assert all(name.startswith("classifier") for name in missing), missing
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    network.classifier = torch.nn.Linear(network.classifier.in_features, classes)
    return network.eval()
