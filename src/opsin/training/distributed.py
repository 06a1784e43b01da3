"""Several processes over `torch.distributed`: gloo on the processor, NCCL between GPUs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from opsin.core.errors import OpsinError, WrongUsage
from opsin.training.processes import Processes


class ProcessLost(OpsinError):
    """Another process of the training ended, so this one cannot go on."""

    default_code = "process_lost"


class Ranks(Processes):
    """One of several processes with the same model, each with its rows of every batch.

    Gradients are averaged by DistributedDataParallel, so a step is that of one process with the
    whole batch, up to the order in which float32 numbers are added. That is not so where samples
    of a batch see each other or where torch draws: batch-norm in training takes its statistics
    from the rows of each process alone (kept are those of the first), and dropout draws in each
    process for itself.

    Every method is called by all processes at the same place. `why`: asked what became of the
    others when one is gone. Source: Li et al., PyTorch Distributed (2020).
    """

    def __init__(
        self, rank: int, size: int, *, why: Callable[[], OpsinError | None] = lambda: None
    ) -> None:
        self.rank = rank
        self.size = size
        self._why = why

    def wrap(self, module: nn.Module) -> nn.Module:
        """A DistributedDataParallel of those parameters that learn now; it starts from the weights
        and buffers of rank 0.
        """
        return DistributedDataParallel(module)

    def without_sync(self, wrapped: nn.Module) -> AbstractContextManager[object]:
        """Backward passes inside add up in this process alone."""
        return cast(
            "AbstractContextManager[object]",
            cast(DistributedDataParallel, wrapped).no_sync(),
        )

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag whether it is set in any process: one small message."""
        answer = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(answer, dist.ReduceOp.MAX)
        return tuple(map(bool, answer.tolist()))

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value summed over the processes, float64, in the order of the ranks."""
        totals: dict[str, float] = {}
        for text in self._texts(json.dumps(dict(values))):
            for name, value in json.loads(text).items():
                totals[name] = totals.get(name, 0) + value
        return totals

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all processes, in the order of their ranks; a process without rows may give
        any empty tensor. Shape B ..., on the device of `rows`.
        """
        plain = rows.detach().cpu().contiguous()
        dtype = str(plain.dtype).removeprefix("torch.")
        heads = [json.loads(t) for t in self._texts(json.dumps([list(plain.shape), dtype]))]
        pieces = self._all(plain.reshape(-1).view(torch.uint8))
        found = [
            piece.view(getattr(torch, name)).reshape(shape)
            for (shape, name), piece in zip(heads, pieces, strict=True)
            if shape[0]
        ]
        return torch.cat(found).to(rows.device) if found else rows

    def share_text(self, text: str | None) -> str:
        """The text that rank 0 gave."""
        return self._texts(text or "")[0]

    def same_buffers(self, module: nn.Module) -> None:
        """The buffers of rank 0 for all."""
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)

    def fault(self, error: BaseException) -> OpsinError | None:
        """What became of another process when `error` comes from its end; this may wait some
        seconds for it. Also explains a model of which a part takes no part in the loss.
        """
        if "Expected to have finished reduction" in str(error):
            return WrongUsage(
                "several processes need every learning parameter in every loss, and the model has "
                "some that its output does not depend on",
                code="unused_parameters",
                where="processes",
                fix="freeze them (requires_grad_(False)), or --processes 1",
            )
        if not _peer_is_gone(error):
            return None
        return self._why() or ProcessLost(
            f"one of the {self.size} processes ended, and the others with it "
            f"({str(error).strip().splitlines()[-1][:200]})"
        )

    def leave(self) -> None:
        """Wait until all are through, then close the connections."""
        self.any(False)
        dist.destroy_process_group()

    def _texts(self, text: str) -> list[str]:
        data = text.encode("utf-8", "surrogateescape")
        own = torch.frombuffer(bytearray(data or b"\0"), dtype=torch.uint8)[: len(data)]
        return [
            bytes(piece.tolist()).decode("utf-8", "surrogateescape") for piece in self._all(own)
        ]

    def _all(self, own: torch.Tensor) -> list[torch.Tensor]:
        """The bytes (uint8, one dimension) of every process, in the order of the ranks."""
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([len(own)]))
        counts = [int(length) for length in lengths]
        longest = max(1, *counts)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(own)] = own
        pieces = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.size)]
        dist.all_gather(pieces, padded)
        return [piece[:count].clone() for piece, count in zip(pieces, counts, strict=True)]


def _peer_is_gone(error: BaseException) -> bool:
    if isinstance(error, dist.DistBackendError | dist.DistNetworkError | dist.DistStoreError):
        return True
    words = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)
