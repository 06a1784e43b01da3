"""What a checkpoint holds of a training that stands between two steps, and how it comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from opsin.training.checkpoint import Saved
from opsin.training.history import History
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
    tensors |= {f"callback.{key}": value for key, value in trainer.hooks.tensors().items()}
    state = {
        "position": asdict(trainer.at),
        "sums": trainer.sums.totals(trainer.processes),
        "history": trainer.history.to_list(),
        "learner": learner,
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
    trainer.model.load_state_dict(under("model.", saved.tensors))
    trainer.hooks.load(state["callbacks"], under("callback.", saved.tensors))


def pack_step(step: Step) -> tuple[dict[str, Any], Tensors]:
    """A step's memory: every optimizer's state as JSON and tensors, and the step's own."""
    packed = {name: pack_optimizer(each) for name, each in step.optimizers.items()}
    tensors = {
        f"optimizer.{name}.{key}": tensor
        for name, (_, own) in packed.items()
        for key, tensor in own.items()
    }
    state = {"optimizers": {name: numbers for name, (numbers, _) in packed.items()}}
    return state | {"own": step.state()}, tensors


def unpack_step(step: Step, state: Mapping[str, Any], tensors: Tensors) -> None:
    """Put back what `pack_step` took."""
    for name, optimizer in step.optimizers.items():
        own = under(f"optimizer.{name}.", tensors)
        unpack_optimizer(optimizer, state["optimizers"][name], own)
    step.load(state["own"])


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


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The tensors whose names begin with `prefix`, without it."""
    return {k[len(prefix) :]: value for k, value in tensors.items() if k.startswith(prefix)}
