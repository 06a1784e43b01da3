"""`Batch`: what the loop sees; `EpochLoader`: what gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Mixed:
    """What each sample of a batch was mixed with (MixUp, CutMix): `targets` of the others, as the
    task collates them, and `share`, float32 B in [0, 1], how much of the sample is its own.
    """

    targets: Any
    share: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """`inputs`: float32 B C H W (or B F when a frozen backbone has already spoken);
    `targets`: as the task collates them; `ids`: B source ids, in the same order.

    `filler`: stands for nothing. It lets a process take part in a step in which it has no sample;
    its loss counts zero. `mixed`: where samples were mixed with others.
    """

    inputs: torch.Tensor
    targets: Any
    ids: tuple[str, ...]
    filler: bool = False
    mixed: Mixed | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`. A copy from pinned memory to CUDA is only started: whatever
        is computed there afterwards waits for it.
        """

        def moved(value: torch.Tensor) -> torch.Tensor:
            # What is no tensor may stand among the targets of a loader of somebody's own.
            pinned = device.type == "cuda" and hasattr(value, "is_pinned") and value.is_pinned()
            return value.to(device, non_blocking=True) if pinned else value.to(device)

        return self.each(moved)

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """The same batch with every tensor of it changed."""
        mixed = self.mixed and Mixed(_each(self.mixed.targets, change), change(self.mixed.share))
        inputs, targets = change(self.inputs), _each(self.targets, change)
        return replace(self, inputs=inputs, targets=targets, mixed=mixed)

    def part(self, start: int, stop: int) -> Batch:
        """The samples `start` to `stop` (not included)."""
        mixed = self.mixed and Mixed(
            _cut(self.mixed.targets, start, stop), self.mixed.share[start:stop]
        )
        return Batch(
            self.inputs[start:stop],
            _cut(self.targets, start, stop),
            self.ids[start:stop],
            self.filler,
            mixed,
        )

    def __len__(self) -> int:
        return len(self.ids)


class EpochLoader(Protocol):
    """What gives batches: of pictures, or of features. An epoch is a function of its number alone.

    `share`: (rank, processes). The plan is that of all processes; the batches are the rank's rows,
    `batch[rank::processes]` of each.
    """

    share: tuple[int, int]

    @property
    def size(self) -> int:
        """Samples in an epoch, of all processes together."""

    def plan(self, epoch: int) -> Sequence[Sequence[int]]:
        """Positions of each batch, of all processes together."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches from number `start` on (0-based), the same as in the whole epoch.

        Where the rank has no row, a loader that shuffles gives a `Batch.filler`; another leaves
        the batch out.
        """


def _each(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Targets of any task: a tensor, or lists and dicts of them."""
    if isinstance(value, list | tuple):
        return type(value)(_each(part, change) for part in value)
    if isinstance(value, dict):
        return {name: _each(part, change) for name, part in value.items()}
    return change(value) if hasattr(value, "to") else value


def _cut(targets: Any, start: int, stop: int) -> Any:
    if isinstance(targets, dict):
        return {name: _cut(value, start, stop) for name, value in targets.items()}
    if isinstance(targets, tuple):
        return tuple(_cut(value, start, stop) for value in targets)
    return targets[start:stop]
