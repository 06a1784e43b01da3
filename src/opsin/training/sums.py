"""Means over samples: sums in float64, divided once at the end."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from opsin.training.processes import ALONE, Processes

Values = Mapping[str, torch.Tensor]
"""A name to one value for each sample, B."""


class Sums:
    """Sums of values of samples, and their count.

    >>> sums = Sums()
    >>> sums.add({"loss": torch.tensor([1.0, 2.0])})
    >>> sums.add({"loss": torch.tensor([6.0])})
    >>> sums.means("train_")
    {'train_loss': 3.0}
    """

    def __init__(self, totals: Mapping[str, float] | None = None) -> None:
        given = dict(totals or {})
        self.count = int(given.pop("count", 0))
        self._totals = {
            name: torch.tensor(total, dtype=torch.float64) for name, total in given.items()
        }

    @torch.no_grad()
    def add(self, values: Values) -> None:
        """Count one more batch. The sums stay on its device, so nothing waits for it."""
        for name, each in values.items():
            total = each.detach().double().sum()
            before = self._totals.get(name)
            self._totals[name] = total if before is None else before.to(total.device) + total
        self.count += len(next(iter(values.values()), ()))

    def totals(self, processes: Processes = ALONE) -> dict[str, float]:
        """The sums over all processes, as JSON; the argument of the constructor."""
        own = {name: float(total) for name, total in self._totals.items()}
        return processes.sum(own | {"count": self.count})

    def means(self, prefix: str, processes: Processes = ALONE) -> dict[str, float]:
        """The mean of each name over all samples of all processes; empty when there were none."""
        totals = self.totals(processes)
        count = totals.pop("count")
        return {f"{prefix}{name}": total / count for name, total in totals.items()} if count else {}
