"""`Batch`: what the loop sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Batch:
    """`inputs`: float32 B C H W (or B F when a frozen backbone has already spoken);
    `targets`: as the task collates them; `ids`: B source ids, in the same order.
    """

    inputs: torch.Tensor
    targets: Any
    ids: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return Batch(self.inputs.to(device), self.targets.to(device), self.ids)

    def __len__(self) -> int:
        return len(self.ids)
