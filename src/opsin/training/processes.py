"""The processes that share each step of a training; most runs have one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from opsin.core.errors import OpsinError


class Processes:
    """One process: every question is answered by itself."""

    rank = 0
    size = 1

    @property
    def share(self) -> tuple[int, int]:
        """(rank, size): which rows of each batch are ours."""
        return self.rank, self.size

    def wrap(self, module: nn.Module) -> nn.Module:
        """`module` whose backward averages gradients over the processes."""
        return module

    def without_sync(self, wrapped: nn.Module) -> AbstractContextManager[object]:
        """Backward passes inside leave the gradients to the last pass of the step."""
        return nullcontext()

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag whether it is set in any process; all must ask at the same place."""
        return flags

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value summed over the processes (float64); a name may be missing in some."""
        return dict(values)

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all processes, in the order of their ranks; lengths may differ."""
        return rows

    def share_text(self, text: str | None) -> str:
        """The text that the first process gave; what the others give is not looked at."""
        return text or ""

    def same_buffers(self, module: nn.Module) -> None:
        """Give every process the buffers (batch-norm's statistics) of the first."""

    def fault(self, error: BaseException) -> OpsinError | None:
        """What became of another process, when `error` only says that it is gone; else None."""
        return None

    def leave(self) -> None:
        """After the last step, by all: nothing more is shared."""


ALONE = Processes()
