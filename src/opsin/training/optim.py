"""Optimizers by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from opsin.core.registry import Registry

OPTIMIZERS = Registry(
    "optimizer",
    [
        ("adam", "torch.optim:Adam"),
        ("adamw", "torch.optim:AdamW"),
        ("nadam", "torch.optim:NAdam"),
        ("sgd", "torch.optim:SGD"),
        ("rmsprop", "torch.optim:RMSprop"),
        ("adagrad", "torch.optim:Adagrad"),
    ],
)
_OPTIONS: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9, "nesterov": True}}


def make_optimizer(
    name: str, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """The optimizer over `parameters`; sgd has Nesterov momentum .9. Raises `WrongUsage`.

    Biases and the scales of norms (parameters of one dimension) do not decay: pulling them to
    zero regularises nothing. Source: He et al., Bag of Tricks (2018), section 3.1.
    """
    given = list(parameters)
    groups = [
        {"params": [p for p in given if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in given if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer: torch.optim.Optimizer = OPTIMIZERS.load(name)(
        [group for group in groups if group["params"]], lr=lr, **_OPTIONS.get(name, {})
    )
    return optimizer
