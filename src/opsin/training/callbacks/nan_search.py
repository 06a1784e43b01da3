"""Where a number first stopped being finite."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.training.untouched import same_buffers_and_draws


@dataclass(frozen=True)
class Found:
    """`place` in words; `rows`: whether each sample's outputs are finite, bool B, None where they
    are not known.
    """

    place: str
    rows: torch.Tensor | None = None


def in_forward(
    module: nn.Module,
    batch: Batch,
    autocast: Callable[[], AbstractContextManager[object]],
    *,
    prefix: str = "",
) -> Found:
    """Call `module` once more and name the first thing that is not finite: the inputs, a
    parameter, a layer's outputs, or the loss alone. Leaves the module, its buffers and torch's
    generators as they were. `prefix`: the module's own name.
    """
    if not finite(batch.inputs):
        return Found("in the inputs of the batch", rows_finite(batch.inputs))
    for name, parameter in module.named_parameters():
        if not finite(parameter):
            return Found(f"in parameter {_of(module, name, prefix)}")
    first: list[str] = []

    def look(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(part: nn.Module, inputs: Any, outputs: Any) -> None:
            if not first and not finite(outputs):
                first.append(f"in layer {_shown(_joined(prefix, name), part)}")

        return hook

    with same_buffers_and_draws(module), contextlib.ExitStack() as hooks:
        for name, part in module.named_modules():
            hooks.callback(part.register_forward_hook(look(name)).remove)
        with torch.no_grad(), autocast():
            outputs = module(batch.inputs)
    rows = rows_finite(outputs) if isinstance(outputs, torch.Tensor) else None
    return Found(first[0] if first else "in the loss itself: the model's outputs are finite", rows)


def in_gradients(module: nn.Module, *, prefix: str = "") -> Found:
    """The first gradient on the way back, from the outputs to the inputs, that is not finite."""
    for name, parameter in reversed(list(module.named_parameters())):
        if parameter.grad is not None and not finite(parameter.grad):
            return Found(f"in the gradient of {_of(module, name, prefix)}")
    return Found("in their sum: each gradient is finite")


def finite(value: Any) -> bool:
    """Whether every float in `value` (a tensor, or lists and dicts of them) is finite."""
    if isinstance(value, torch.Tensor):
        dense = value.coalesce().values() if value.is_sparse else value
        return not dense.is_floating_point() or bool(dense.isfinite().all())
    if isinstance(value, dict):
        value = list(value.values())
    return not isinstance(value, list | tuple) or all(finite(each) for each in value)


def rows_finite(values: torch.Tensor) -> torch.Tensor:
    """For B ... whether each row is finite, bool B."""
    return values.isfinite().reshape(len(values), -1).all(1)


def _of(module: nn.Module, parameter: str, prefix: str) -> str:
    owner = module.get_submodule(parameter.rpartition(".")[0])
    return f"{_joined(prefix, parameter)} ({type(owner).__name__})"


def _joined(prefix: str, name: str) -> str:
    return ".".join(filter(None, (prefix, name)))


def _shown(name: str, part: nn.Module) -> str:
    return f"{name} ({type(part).__name__})" if name else type(part).__name__
