"""Optimizers by name, and the groups of parameters that they treat differently."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from opsin.core.registry import Registry
from opsin.training.bare_optimizer import bare

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
_MOMENTUM = {"sgd": 0.9, "rmsprop": 0.0}
_FUSED = {"adam", "adamw", "sgd", "adagrad"}
"""Those that torch updates in one pass over the weights, on the CPU and on CUDA."""
_OPENED = ("backbone", "blocks", "layers", "stages")


def make_optimizer(
    name: str,
    groups: Iterable[nn.Parameter | dict[str, Any]],
    *,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float | None = None,
    nesterov: bool = True,
    fused: bool = True,
) -> torch.optim.Optimizer:
    """The optimizer over `groups`, each at its share of `lr`. Raises `WrongUsage`.

    Plain parameters are grouped here by `weight_decay`; groups have brought their own. `momentum`
    is of sgd (.9 where none is given) and of rmsprop (0, as in torch and Keras); the others have
    none. `nesterov` is of sgd and means nothing without momentum. `fused`: one pass over all
    weights where torch has it for them, other roundings; a checkpoint goes on as it was begun.
    """
    given = list(groups)
    ready = [group for group in given if isinstance(group, dict)]
    plain = [parameter for parameter in given if not isinstance(parameter, dict)]
    ready += parameter_groups(nn.Module(), plain, weight_decay=weight_decay)
    options: dict[str, Any] = {}
    if name in _MOMENTUM:
        options["momentum"] = _MOMENTUM[name] if momentum is None else momentum
    if name == "sgd":
        options["nesterov"] = nesterov and options["momentum"] > 0
    if fused and name in _FUSED and _can_be_fused(ready):
        options["fused"] = True
    kind: Callable[..., torch.optim.Optimizer] = bare(OPTIMIZERS.load(name))
    optimizer = kind(ready, lr=lr, **options)
    set_rate(optimizer, lr)
    return optimizer


def parameter_groups(
    module: nn.Module,
    learning: Iterable[nn.Parameter],
    *,
    weight_decay: float,
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """`learning` as groups for an optimizer: `params`, `weight_decay`, `rate_share`, `depth`.

    Biases and the scales of norms (parameters of one dimension) do not decay: pulling them to
    zero regularises nothing. Source: He et al., Bag of Tricks (2018), section 3.1.

    `depth` counts the blocks of `module` from the head (0) down, and `rate_share` is `layer_decay`
    to that power; parameters that are not of `module` learn like its head. At 1.0 nothing is
    counted and every depth is 0. Source: Clark et al., ELECTRA (2020), section 3.1.
    """
    depths: dict[int, int] = {}
    if layer_decay != 1.0:
        for depth, block in enumerate(reversed(learning_blocks(module))):
            depths |= {id(parameter): depth for parameter in block}
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for parameter in dict.fromkeys(learning):
        depth, flat = depths.get(id(parameter), 0), parameter.ndim <= 1
        group = {
            "params": [],
            "weight_decay": 0.0 if flat else weight_decay,
            "rate_share": layer_decay**depth,
            "depth": depth,
        }
        groups.setdefault((depth, flat), group)["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def learning_blocks(module: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of `module` in blocks from the input to the head, which is the last.

    Blocks are its children in the order in which they were made. Opened, so that their children
    count instead: a Sequential, a ModuleList, what is called `backbone`, and what holds a list
    called `blocks`, `layers` or `stages`. A norm (a child whose parameters all have one dimension)
    belongs to the block before it, a parameter that stands beside children to the first of them.
    """
    blocks: list[list[nn.Parameter]] = []
    for part in _parts(module):
        if blocks and all(parameter.ndim <= 1 for parameter in part):
            blocks[-1] += part
        else:
            blocks.append(part)
    return blocks


@torch.no_grad()
def lay_out_states(optimizer: torch.optim.Optimizer) -> None:
    """Lay what is kept of each parameter in memory as the parameter lies: a fused update takes the
    numbers as they lie, whatever the strides say, and files hold them plainly.
    """
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if not isinstance(value, torch.Tensor) or value.shape != parameter.shape:
                continue
            if value.stride() != parameter.stride():
                kept[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Put the learning rate `rate` into every group, times its `rate_share` where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_share", 1.0)


def _can_be_fused(groups: Iterable[dict[str, Any]]) -> bool:
    kinds = {(p.device.type, p.dtype) for group in groups for p in group["params"]}
    floats = (torch.float32, torch.bfloat16)
    return all(device in ("cpu", "cuda") and dtype in floats for device, dtype in kinds)


def _parts(module: nn.Module) -> Iterator[list[nn.Parameter]]:
    beside = list(module.parameters(recurse=False))
    for name, child in module.named_children():
        for part in _parts(child) if _is_list(name, child) else [list(child.parameters())]:
            if part:
                yield beside + part
                beside = []
    if beside:
        yield beside


def _is_list(name: str, child: nn.Module) -> bool:
    lists = (nn.Sequential, nn.ModuleList)
    held = (getattr(child, inside, None) for inside in _OPENED)
    return name == "backbone" or isinstance(child, lists) or any(isinstance(h, lists) for h in held)
