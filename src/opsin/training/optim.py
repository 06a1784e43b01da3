"""Optimizers by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from opsin.core.registry import Registry

OPTIMIZERS = Registry(
    "optimizer",
    [("adam", "torch.optim:Adam"), ("adamw", "torch.optim:AdamW"), ("sgd", "torch.optim:SGD")],
)
_OPTIONS: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9, "nesterov": True}}


def make_optimizer(
    name: str, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """The optimizer over `parameters`; sgd has Nesterov momentum .9. Raises `WrongUsage`."""
    optimizer: torch.optim.Optimizer = OPTIMIZERS.load(name)(
        list(parameters), lr=lr, weight_decay=weight_decay, **_OPTIONS.get(name, {})
    )
    return optimizer
