"""Pictures for the torch peers: ImageFolder, torchvision's v2 transforms, DataLoader."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

AUGMENTS = {
    "none": [],
    "trivial": [v2.TrivialAugmentWide()],
    "colour": [
        v2.RandomHorizontalFlip(),
        v2.RandomRotation(15),
        v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
    ],
}


def loaders(job: SimpleNamespace) -> tuple[Any, Any, Any]:
    """For training (shuffled, augmented), validation and test."""
    resize = [v2.Resize((job.size, job.size))]
    if job.weights:  # as the weights' authors prepare pictures
        resize = [v2.Resize(round(job.size / 0.875)), v2.CenterCrop(job.size)]
    to_float = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    if job.weights:
        to_float.append(v2.Normalize([0.5] * 3, [0.5] * 3))
    made = []
    for split in ("train", "val", "test"):
        augment = AUGMENTS[job.augment] if split == "train" else []
        made.append(
            DataLoader(
                ImageFolder(f"{job.tree}/{split}", v2.Compose(resize + augment + to_float)),
                batch_size=job.batch,
                shuffle=split == "train",
                num_workers=job.workers,
            )
        )
    return made[0], made[1], made[2]
