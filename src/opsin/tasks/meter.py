"""`Meter`: what is measured over a whole epoch, because a mean over samples would not give it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from opsin.core.batch import Batch

Gather = Callable[[torch.Tensor], torch.Tensor]
"""The rows of a tensor from all processes, one after the other; of one process the tensor itself.
Every process calls it equally often; one that has no row gives an empty tensor, whose other sizes
and type mean nothing."""


class Meter(Protocol):
    """Told every validation batch of one epoch, asked once at its end."""

    def update(self, outputs: torch.Tensor, batch: Batch) -> None:
        """Take in one batch. Wants no gradients; keeps nothing on the device."""

    def compute(self, gather: Gather) -> dict[str, float]:
        """The numbers by name, over the rows of all processes."""


class Meters:
    """Several meters as one; of none it costs nothing."""

    def __init__(self, meters: Sequence[Meter] = ()) -> None:
        self._meters = tuple(meters)

    def update(self, outputs: torch.Tensor, batch: Batch) -> None:
        """Tell each."""
        for meter in self._meters:
            meter.update(outputs, batch)

    def compute(self, gather: Gather) -> dict[str, float]:
        """All their numbers."""
        return {
            name: value for meter in self._meters for name, value in meter.compute(gather).items()
        }
