"""What a checkpoint holds of a training that stands between two steps, and how it comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from opsin.training.checkpoint import Saved
from opsin.training.history import History
from opsin.training.optim import lay_out_states
from opsin.training.position import Position
from opsin.training.step import Step
from opsin.training.sums import Sums

if TYPE_CHECKING:
    from opsin.training.loop import Trainer

Tensors = dict[str, torch.Tensor]


def take(trainer: Trainer) -> tuple[dict[str, Any], Tensors]:
    """Everything that the next step depends on. Every process takes part, one writes it."""
    learner, tensors = pack_step(trainer.stages[trainer.at.stage].step)
    tensors |= {f"model.{name}": value for name, value in trainer.model.state_dict().items()}
    tensors |= {f"passing.{name}": value for name, value in passing(trainer.model).items()}
    tensors |= {f"callback.{key}": value for key, value in trainer.hooks.tensors().items()}
    state = {
        "position": asdict(trainer.at),
        "sums": trainer.sums.totals(trainer.processes),
        "history": trainer.history.to_list(),
        "learner": learner,
        "channels_last": channels_last(trainer.model),
        "callbacks": trainer.hooks.state(),
        "threads": torch.get_num_threads(),
        "processes": trainer.processes.size,
        "settings": trainer.settings,
    }
    return state, tensors


def put_back(trainer: Trainer, saved: Saved) -> None:
    """Let `trainer` stand where `take` found it; a stage's step follows when it begins."""
    state = saved.state
    trainer.history = History.from_list(trainer.history.monitor, state["history"])
    trainer.at = Position(**state["position"])
    if trainer.processes.rank == 0:  # the sums are those of all processes
        trainer.sums = Sums(state["sums"])
    trainer.best.resumed(trainer.history)
    restore_layout(trainer.model, state["channels_last"])
    trainer.model.load_state_dict(under("model.", saved.tensors))
    buffers = passing(trainer.model)
    for name, value in under("passing.", saved.tensors).items():
        buffers[name].copy_(value)
    trainer.hooks.load(state["callbacks"], under("callback.", saved.tensors))


def passing(model: nn.Module) -> Tensors:
    """The buffers that torch does not count among the state of a model, but a step may change."""
    kept = model.state_dict()
    return {name: value for name, value in model.named_buffers() if name not in kept}


def channels_last(model: nn.Module) -> list[str]:
    """The weights that lie in memory with the channels last: another order of sums, other bits."""
    kind = torch.channels_last
    return [
        name
        for name, value in model.named_parameters()
        if value.ndim == 4 and value.is_contiguous(memory_format=kind) and not value.is_contiguous()
    ]


@torch.no_grad()
def restore_layout(model: nn.Module, names: Sequence[str]) -> None:
    """Lay the weights as they lay: `names` with the channels last, the others plainly."""
    for name, value in model.named_parameters():
        if value.ndim == 4:
            kind = torch.channels_last if name in names else torch.contiguous_format
            value.data = value.data.contiguous(memory_format=kind)


def pack_step(step: Step) -> tuple[dict[str, Any], Tensors]:
    """A step's memory: every optimizer's state as JSON and tensors, and the step's own."""
    parts, tensors = pack_parts(**_parts(step))
    return {"parts": parts, "own": step.state()}, tensors


def unpack_step(step: Step, state: Mapping[str, Any], tensors: Tensors) -> None:
    """Put back what `pack_step` took."""
    unpack_parts(state["parts"], tensors, **_parts(step))
    step.load(state["own"])


def _parts(step: Step) -> dict[str, nn.Module | torch.optim.Optimizer]:
    optimizers = {f"optimizer.{name}": each for name, each in step.optimizers.items()}
    return optimizers | {f"beside.{name}": each for name, each in step.beside.items()}


def pack_parts(**parts: nn.Module | torch.optim.Optimizer) -> tuple[dict[str, Any], Tensors]:
    """Modules and optimizers as JSON by part, and tensors named `<part>.<name>`."""
    state: dict[str, Any] = {}
    tensors: Tensors = {}
    for part, each in parts.items():
        if isinstance(each, nn.Module):
            own = dict(each.state_dict())
        else:
            state[part], own = pack_optimizer(each)
        tensors |= {f"{part}.{name}": tensor for name, tensor in own.items()}
    return state, tensors


def unpack_parts(
    state: Mapping[str, Any], tensors: Tensors, **parts: nn.Module | torch.optim.Optimizer
) -> None:
    """Put back what `pack_parts` took."""
    for part, each in parts.items():
        own = under(f"{part}.", tensors)
        if isinstance(each, nn.Module):
            each.load_state_dict(own)
        else:
            unpack_optimizer(each, state[part], own)


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], Tensors]:
    """An optimizer's state as JSON, and tensors named `<parameter>.<name>`."""
    full = optimizer.state_dict()
    numbers: dict[str, dict[str, Any]] = {}
    tensors: Tensors = {}
    for index, entries in full["state"].items():
        for name, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                numbers.setdefault(str(index), {})[name] = value
    return {"groups": full["param_groups"], "numbers": numbers}, tensors


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, state: Mapping[str, Any], tensors: Tensors
) -> None:
    """Put back what `pack_optimizer` took."""
    entries: dict[int, dict[str, Any]] = {
        int(index): dict(values) for index, values in state["numbers"].items()
    }
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        entries.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": entries, "param_groups": state["groups"]})
    lay_out_states(optimizer)


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The tensors whose names begin with `prefix`, without it."""
    return {k[len(prefix) :]: value for k, value in tensors.items() if k.startswith(prefix)}
