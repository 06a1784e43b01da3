"""The plain loop of a PyTorch course."""

from __future__ import annotations

import time
from typing import Any

import torch
from job import answer, read
from torch import nn
from torch_data import loaders
from torch_networks import build, frozen


def main() -> None:
    job = read()
    torch.manual_seed(job.seed)
    train, val, test = loaders(job)
    classes = len(train.dataset.classes)
    outputs = 1 if classes == 2 else classes
    model = frozen(job.weights, outputs) if job.weights else build(job.network, outputs)
    learns = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learns, lr=job.lr)
    loss_of = binary if outputs == 1 else nn.CrossEntropyLoss()

    seconds = []
    for _ in range(job.epochs):
        started = time.perf_counter()
        if not job.weights:
            model.train()
        train_loss = train_right = 0.0
        for images, labels in train:
            logits = model(images)
            loss = loss_of(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            train_loss += loss.item()
            train_right += (chosen(logits) == labels).sum().item()
        count(model, val, loss_of)
        seconds.append(time.perf_counter() - started)
    right, total, _ = count(model, test, loss_of)
    answer(seconds, right, total)


def binary(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.binary_cross_entropy_with_logits(logits[:, 0], labels.float())


def chosen(logits: torch.Tensor) -> torch.Tensor:
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)


def count(model: nn.Module, loader: Any, loss_of: Any) -> tuple[int, int, float]:
    model.eval()
    right = total = 0
    loss = 0.0
    with torch.inference_mode():
        for images, labels in loader:
            logits = model(images)
            loss += loss_of(logits, labels).item()
            right += (chosen(logits) == labels).sum().item()
            total += len(labels)
    return right, total, loss


if __name__ == "__main__":
    main()
