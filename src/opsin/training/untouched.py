"""What looks at a training without being part of it leaves everything as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from opsin.training.step import Step


@contextmanager
def same_buffers_and_draws(module: nn.Module) -> Iterator[None]:
    """Afterwards the buffers of `module` (batch-norm's statistics) and torch's generators are what
    they were before.
    """
    buffers = [buffer.detach().clone() for buffer in module.buffers()]
    try:
        with _same_draws(module):
            yield
    finally:
        with torch.no_grad():
            for buffer, before in zip(module.buffers(), buffers, strict=True):
                buffer.copy_(before)


@contextmanager
def untouched(step: Step) -> Iterator[None]:
    """Afterwards weights, buffers, gradients, modes, optimizers, `step.state()` and torch's
    generators are what they were before. It takes as much memory as all of that once more.
    """
    module = step.module
    weights = {name: value.detach().clone() for name, value in module.state_dict().items()}
    parameters = [(p, p.requires_grad, p.grad) for p in module.parameters()]
    modes = [(part, part.training) for part in module.modules()]
    optimizers = {name: copy.deepcopy(each.state_dict()) for name, each in step.optimizers.items()}
    own = copy.deepcopy(step.state())
    for parameter, _, gradient in parameters:
        parameter.grad = None if gradient is None else gradient.clone()
    try:
        with _same_draws(module):
            yield
    finally:
        module.load_state_dict(weights)
        for parameter, learns, gradient in parameters:
            parameter.requires_grad_(learns)
            parameter.grad = gradient
        for part, mode in modes:
            part.training = mode
        for name, each in step.optimizers.items():
            each.load_state_dict(optimizers[name])
        step.load(own)


@contextmanager
def _same_draws(module: nn.Module) -> Iterator[None]:
    devices = {p.device for p in module.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(sorted(devices, key=str)):
        yield
