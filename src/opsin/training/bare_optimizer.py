"""Optimizers of torch without the compiler that torch would load for them."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any

import torch
from torch.optim import Optimizer

_WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


@functools.cache
def bare(kind: type[Optimizer]) -> type[Optimizer]:
    """A subclass of `kind` that does the same sums, and under the same name.

    torch wraps five methods of an optimizer so that its compiler, where somebody compiles, leaves
    them alone; the wrappers import it at the first call, with sympy and half of torch.distributed:
    .9 of the 2 s in which a small run gets to its first step (measured). Nothing is compiled in
    Opsin's loop, so the subclass has the methods as they are inside. Where the compiler is loaded
    already, `kind` itself comes back.

    >>> issubclass(bare(torch.optim.Adam), torch.optim.Adam)
    True
    """
    if "torch._dynamo" in sys.modules:
        return kind
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in _WRAPPED}
    step = inspect.unwrap(kind.step)
    methods["step"] = torch.no_grad()(step)
    return type(kind.__name__, (kind,), methods | {"__module__": kind.__module__})
