"""Whether a module and callbacks of somebody's own can be trained with, before anything begins."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from opsin.core.errors import WrongUsage
from opsin.training.callback import Callback
from opsin.training.checkpoint import Saved
from opsin.training.snapshot import under

SHOWN = 5


def check_module(module: Any) -> None:
    """Raise `WrongUsage` for what cannot learn, be moved to one device, or be saved."""
    why, fix = _fault_of(module)
    if why:
        raise WrongUsage(why, code="module_refused", where="model", fix=fix)


def _fault_of(module: Any) -> tuple[str, str]:
    if isinstance(module, type):
        return f"{module.__name__} is a class", f"{module.__name__}()"
    if not isinstance(module, nn.Module):
        return f"wanted is a name or an nn.Module, came {type(module).__name__}", ""
    name = type(module).__name__
    lazy = [each for each, value in module.named_parameters() if is_lazy(value)]
    if lazy:
        return f"{lazy[0]} of {name} has no shape yet", "call the module once with a batch"
    if not any(parameter.requires_grad for parameter in module.parameters()):
        return f"{name} has no parameter that learns", "nn.Parameter, and requires_grad"
    devices = sorted({str(value.device) for value in [*module.parameters(), *module.buffers()]})
    if "meta" in devices:
        return f"{name} is on the device meta, where nothing has a value", "build it on the cpu"
    if len(devices) > 1:
        return f"{name} is on {' and '.join(devices)}; it must be on one device", "module.cpu()"
    for key, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            return (
                f"{key} of its state is {type(value).__name__}; a checkpoint holds tensors",
                "a buffer in place of get_extra_state",
            )
    return "", ""


def check_loss(loss: Any) -> None:
    """Raise `WrongUsage` for a loss with parameters, which nothing would teach."""
    if not isinstance(loss, nn.Module):
        return
    names = [name for name, value in loss.named_parameters() if value.requires_grad]
    if names:
        raise WrongUsage(
            f"{type(loss).__name__} has parameters of its own ({', '.join(names[:SHOWN])}), and "
            "only those of the model learn",
            code="loss_has_parameters",
            where="loss",
            fix="make it a part of the model, or loss.requires_grad_(False)",
        )


def check_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """The callbacks as a tuple; raises `WrongUsage` for what is none."""
    found = tuple(callbacks) if isinstance(callbacks, list | tuple) else (callbacks,)
    for each in found:
        if isinstance(each, type):
            raise WrongUsage(
                f"{each.__name__} is a class", where="callbacks", fix=f"{each.__name__}()"
            )
        if not isinstance(each, Callback):
            raise WrongUsage(
                f"wanted are opsin.training.callback.Callback, came {type(each).__name__}",
                where="callbacks",
                fix="class Mine(Callback)",
            )
    return found


def refuse_other_module(module: nn.Module, saved: Saved) -> None:
    """Raise `WrongUsage` that lists how the weights of `saved` are not those of `module`."""
    before = {name: tuple(value.shape) for name, value in under("model.", saved.tensors).items()}
    now = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = [
        f"{name} was {_size(before.get(name))}, is {_size(now.get(name))}"
        for name in {**now, **before}
        if before.get(name) != now.get(name)
    ]
    if found:
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise WrongUsage(
            f"the run was trained with another model: {'; '.join(found[:SHOWN])}{more}",
            code="settings_changed",
            where="model",
            fix="give the module that it was trained with, or begin a new run",
        )


def _size(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return "absent"
    return " x ".join(map(str, shape)) or "one number"
