"""Latency and throughput by torch: python inference.py eager|compile WEIGHTS COUNT."""

from __future__ import annotations

import json
import statistics
import sys
import time

import torch
from torch_networks import frozen


class Served(torch.nn.Module):
    """uint8 B 3 224 224 to probabilities."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network((images / 255 - 0.5) / 0.5).softmax(dim=1)


def main() -> None:
    way, weights, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    model = Served(frozen(weights, 3)).eval()
    if way == "compile":
        model = torch.compile(model)
    found = {}
    for name, size, repeats in (("one", 1, count), ("batch", 32, max(3, count // 10))):
        images = torch.randint(0, 256, (size, 3, 224, 224), dtype=torch.uint8)
        seconds = []
        for _ in range(repeats + 2):
            started = time.perf_counter()
            with torch.inference_mode():
                model(images).numpy()
            seconds.append(time.perf_counter() - started)
        found[name] = statistics.median(seconds[2:])
    print(json.dumps({"one_ms": found["one"] * 1e3, "batch_per_s": 32 / found["batch"]}))


if __name__ == "__main__":
    main()
