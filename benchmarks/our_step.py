"""Milliseconds of opsin's own training step: python our_step.py NETWORK SIZE STEPS."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator

from opsin.core.allocator import held_memory, prepare_environment

prepare_environment()

import torch  # noqa: E402
from torch import nn  # noqa: E402

from opsin.core.batch import Batch  # noqa: E402
from opsin.models.build import Origin, build, design  # noqa: E402
from opsin.tasks.classification import Classification  # noqa: E402
from opsin.training.optim import make_optimizer  # noqa: E402
from opsin.training.processes import ALONE  # noqa: E402
from opsin.training.step import Moment  # noqa: E402
from opsin.training.supervised import SupervisedStep  # noqa: E402

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def main() -> None:
    """Choose the layout by a few steps of each, in turn; then measure."""
    network, size, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with held_memory() as memory:
        sides = {name: steps_of(network, size, layout) for name, layout in LAYOUTS.items()}
        for _ in range(3):
            for side in sides.values():
                next(side)
        tried = {name: [next(side) for _ in range(4)] for name, side in sides.items()}
        chosen = min(tried, key=lambda name: statistics.median(tried[name]))
        seconds = [next(sides[chosen]) for _ in range(steps)]
    print(json.dumps({"ms": statistics.median(seconds) * 1e3, "chosen": f"{chosen}, {memory}"}))


def steps_of(network: str, size: int, layout: torch.memory_format) -> Iterator[float]:
    """Seconds of one step after another."""
    classes = tuple(str(number) for number in range(10))
    name = network if network in ("tinyvgg", "cnn3") else f"timm:{network}"
    model = model_of(name, size, len(classes)).to(memory_format=layout)
    task = Classification(classes)
    step = SupervisedStep(model, task, make_optimizer("adam", model.parameters(), lr=1e-3))
    step.begin(torch.device("cpu"), ALONE)
    step.learn_mode()
    images = torch.rand(32, 3, size, size).to(memory_format=layout)
    ids = tuple(str(number) for number in range(32))
    batch = Batch(images, torch.randint(0, 10, (32,)), ids)
    number = 0
    while True:
        number += 1
        started = time.perf_counter()
        values = step.learn(batch, Moment(1, number, 10**6, 1e-3, 32, number), nothing)
        float(values["loss"].mean())
        yield time.perf_counter() - started


def model_of(name: str, size: int, classes: int) -> nn.Module:
    """From scratch, as `opsin train --model NAME --image-size SIZE` builds it."""
    return build(design(name, Origin(), image_size=size), Origin(), classes, seed=0)


def nothing(optimizer: torch.optim.Optimizer, loss: float) -> None:
    """Called before each update."""


if __name__ == "__main__":
    main()
