"""The best weights so far, by one monitor or by several."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from opsin.core.errors import WrongUsage
from opsin.core.registry import unknown
from opsin.training.checkpoint import CheckpointStore
from opsin.training.history import History
from opsin.training.monitor import Monitor


class BestWeights:
    """Kept in memory when an epoch is the best, and written before the checkpoint that refers to
    them. The first of `monitors` decides what the run ends with.
    """

    def __init__(self, store: CheckpointStore, monitors: Sequence[Monitor]) -> None:
        self.store = store
        self.monitors = list(monitors)
        self._waiting: dict[str, tuple[int, dict[str, torch.Tensor]]] = {}
        self._kept: list[int] = []

    def note(self, model: nn.Module, history: History) -> None:
        """After an epoch was recorded: keep `model`'s weights where it is the best."""
        record = history.records[-1]
        weights: dict[str, torch.Tensor] = {}
        for monitor in self.monitors:
            if monitor.name not in record.values:
                fault = unknown("metric", monitor.name, sorted(record.values))
                raise WrongUsage(fault.message, code=fault.code, where="monitor")
            if history.best_by(monitor) is record:
                weights = weights or {
                    name: value.detach().cpu().clone() for name, value in model.state_dict().items()
                }
                self._waiting[monitor.name] = (record.epoch, weights)

    def write(self) -> None:
        """Write what waits. Raises `NoRoom`, and then it waits on."""
        for name, (epoch, weights) in list(self._waiting.items()):
            self.store.save_best(name, epoch, weights)
            del self._waiting[name]

    def tidy(self, history: History) -> None:
        """After a checkpoint of `history` was written: drop what no kept checkpoint refers to."""
        self._kept = [*self._kept[-1:], len(history.records)]
        for monitor in self.monitors:
            bests = [history.best_by(monitor, history.records[:length]) for length in self._kept]
            self.store.tidy_best(monitor.name, {best.epoch for best in bests if best})

    def resumed(self, history: History) -> None:
        """The run goes on from a checkpoint of `history`."""
        self._kept = [len(history.records)]

    def use(self, model: nn.Module, history: History) -> None:
        """Put the best weights by the first monitor into `model`. Raises `ModelRefused`."""
        best = history.best_by(self.monitors[0])
        if best is None:
            return
        name = self.monitors[0].name
        epoch, weights = self._waiting.get(name, (0, {}))
        if epoch != best.epoch:
            weights = self.store.best(name, best.epoch).tensors
        model.load_state_dict(weights)
