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
        return Batch(self.inputs.to(device), _moved(self.targets, device), self.ids)

    def __len__(self) -> int:
        return len(self.ids)


def _moved(value: Any, device: torch.device) -> Any:
    """Targets of any task: a tensor, or lists and dicts of them."""
    if isinstance(value, list | tuple):
        return type(value)(_moved(part, device) for part in value)
    if isinstance(value, dict):
        return {name: _moved(part, device) for name, part in value.items()}
    return value.to(device) if hasattr(value, "to") else value
