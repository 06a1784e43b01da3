"""How long the gradient of each layer is, and how far it moves the layer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from opsin.training.callback import Callback
from opsin.training.callbacks.epoch_rows import EpochRows
from opsin.training.callbacks.patient import Say, silent
from opsin.training.events import EpochEnd, TrainEnd, TrainStart, UpdateStart

COLUMNS = ("epoch", "stage", "layer", "gradient_norm", "weight_norm", "update_share")


class GradientLog(Callback):
    """`gradients.csv`: for each epoch and each layer that learns, at the last step of the epoch.

    `gradient_norm`, `weight_norm`: 2-norms over the layer's parameters, before the update, the
    gradient as backward left it (not clipped, no penalties). `update_share`: the length of the
    step that plain SGD would take, as a share of the weights; near 1e-3 is usual, 1e-1 is wild,
    1e-6 is asleep. Empty where all weights are 0.
    """

    def __init__(self, path: Path, say: Say = silent, *, wait_s: float = 5.0) -> None:
        self._rows = EpochRows(path, COLUMNS, say, wait_s=wait_s)
        self._names: dict[int, str] = {}
        # Norms stay on the device until they are wanted, so no step waits for them.
        self._norms: dict[str, tuple[Any, Any, float]] = {}

    def state(self) -> dict[str, Any]:
        """The rows that wait, and for each parameter: gradient norm, weight norm, rate."""
        norms = {name: [float(g), float(w), rate] for name, (g, w, rate) in self._norms.items()}
        return {"rows": self._rows.state(), "norms": norms}

    def load(self, state: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        """Take them back."""
        self._rows.load(state["rows"])
        self._norms = {name: (g, w, rate) for name, (g, w, rate) in state["norms"].items()}

    def on_train_start(self, start: TrainStart) -> None:
        """Learn the names: those of the whole model, whatever a stage calls."""
        self._names = {id(each): name for name, each in start.model.named_parameters()}

    def on_update_start(self, start: UpdateStart) -> None:
        """Measure what this optimizer is about to change."""
        found = [
            (self._names[id(parameter)], parameter, float(group["lr"]))
            for group in start.optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None and id(parameter) in self._names
        ]
        if not found:
            return
        gradients = _lengths([parameter.grad for _, parameter, _ in found])
        weights = _lengths([parameter.detach() for _, parameter, _ in found])
        for (name, _, rate), gradient, weight in zip(found, gradients, weights, strict=True):
            self._norms[name] = (gradient, weight, rate)

    def on_epoch_end(self, end: EpochEnd) -> None:
        """Sum up the layers, and write their rows."""
        layers: dict[str, list[tuple[float, float, float]]] = {}
        for name in self._names.values():  # the model's order
            if name in self._norms:
                gradient, weight, rate = self._norms[name]
                triple = (float(gradient), float(weight), rate * float(gradient))
                layers.setdefault(name.rpartition(".")[0], []).append(triple)
        for layer, triples in layers.items():
            gradient, weight, step = (math.hypot(*column) for column in zip(*triples, strict=True))
            share: float | str = step / weight if weight else ""
            where = (end.record.epoch, end.record.stage, layer or "(model)")
            self._rows.add(*where, gradient, weight, share)
        self._norms = {}
        self._rows.write()

    def on_train_end(self, end: TrainEnd) -> None:
        """Write what could not be written before."""
        self._rows.write()


def _lengths(tensors: list[Any]) -> list[torch.Tensor]:
    dense = [each.coalesce().values() if each.is_sparse else each for each in tensors]
    return list(torch._foreach_norm(dense))
