"""Training loops on a card as people write them: python accelerator.py JOB torchvision|timm SOURCE.

SOURCE: `synthetic` (one batch that is there already) or `stored` (a folder of JPEGs). The loops are
those of torchvision's `references/classification/train.py` and timm's `train.py` with their usual
options for ResNet-50, channels last, under autocast, without distributed parts, scaler and EMA.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

WARM = 10


def main() -> None:
    job = SimpleNamespace(**json.loads(Path(sys.argv[1]).read_text("utf-8")))
    who, source = sys.argv[2:4]
    device = torch.device(job.device)
    torch.backends.cudnn.benchmark = True
    classes = 1000 if source == "synthetic" else 10
    made = with_timm if who == "timm" else with_torchvision
    model, optimizer, loss_of, loader = made(job, device, classes, source)
    model.train()
    seconds: list[float] = []
    if source == "synthetic":
        images = torch.rand(job.batch, 3, job.size, job.size, device=device)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.randint(0, classes, (job.batch,), device=device)
        for _ in range(WARM + job.steps):
            started = time.perf_counter()
            step(job, device, model, optimizer, loss_of, images, labels)
            seconds.append(time.perf_counter() - started)
        rate = job.batch / statistics.median(seconds[WARM:])
    else:
        pictures = 0
        for epoch in range(job.epochs):
            started = time.perf_counter()
            for images, labels in loader():
                step(job, device, model, optimizer, loss_of, images, labels)
                pictures += len(labels) if epoch else 0
            if epoch:  # the first one starts the workers, and for opsin prepares what later reuse
                seconds.append(time.perf_counter() - started)
        rate = pictures / sum(seconds)
    print(json.dumps({"images_s": rate}))


def step(
    job: SimpleNamespace,
    device: torch.device,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    """Forward, loss, backward, update, and the loss fetched for the log."""
    low = job.precision != "float32"
    kind = getattr(torch, job.precision)
    with torch.autocast(device.type, dtype=kind) if low else nullcontext():
        loss = loss_of(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    loss.item()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def with_torchvision(job: SimpleNamespace, device: torch.device, classes: int, source: str) -> Any:
    """Model, optimizer, loss, and what gives the batches of an epoch."""
    from torch.utils.data import DataLoader
    from torchvision import models
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    model = models.get_model(job.network, num_classes=classes)
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    if source == "synthetic":
        return model, optimizer, nn.CrossEntropyLoss(), None
    preset = v2.Compose(
        [
            v2.RandomResizedCrop(job.size, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    batches = DataLoader(
        ImageFolder(job.data, preset),
        batch_size=job.batch,
        shuffle=True,
        num_workers=job.workers,
        pin_memory=device.type == "cuda",
        persistent_workers=True,
        drop_last=True,
    )

    def epoch() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for images, labels in batches:
            yield images.to(device), labels.to(device)

    return model, optimizer, nn.CrossEntropyLoss(), epoch


def with_timm(job: SimpleNamespace, device: torch.device, classes: int, source: str) -> Any:
    """Model, optimizer, loss, and what gives the batches of an epoch."""
    import timm
    from timm.data import create_dataset, create_loader
    from timm.optim import create_optimizer_v2

    model = timm.create_model(job.network, num_classes=classes)
    model = model.to(device=device, memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.01, weight_decay=1e-4, momentum=0.9)
    if source == "synthetic":
        return model, optimizer, nn.CrossEntropyLoss(), None
    fetches = device.type == "cuda"
    batches = create_loader(
        create_dataset("", root=job.data, is_training=True, batch_size=job.batch),
        input_size=(3, job.size, job.size),
        batch_size=job.batch,
        is_training=True,
        num_workers=job.workers,
        pin_memory=True,
        device=device,
        use_prefetcher=fetches,
    )

    def epoch() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for images, labels in batches:
            images, labels = images.to(device), labels.to(device)
            yield images.contiguous(memory_format=torch.channels_last), labels

    return model, optimizer, nn.CrossEntropyLoss(), epoch


if __name__ == "__main__":
    main()
