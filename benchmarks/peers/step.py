"""Milliseconds of a training step as people write it: python step.py NETWORK SIZE STEPS."""

from __future__ import annotations

import json
import statistics
import sys
import time

import torch
from torch import nn
from torch_networks import build


def main() -> None:
    network, size, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.manual_seed(0)
    model = build(network, 10)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_of = nn.CrossEntropyLoss()
    images, labels = torch.rand(32, 3, size, size), torch.randint(0, 10, (32,))
    seconds = []
    for _ in range(steps + 3):
        started = time.perf_counter()
        loss = loss_of(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"ms": statistics.median(seconds[3:]) * 1e3}))


if __name__ == "__main__":
    main()
