"""A batch in parts, so that it fits into memory; the step stays the whole batch's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch

from opsin.core.batch import Batch
from opsin.core.errors import NotEnoughMemory


class MicroBatch:
    """How many samples go through the model at once.

    `accumulate`: parts that each batch is cut into from the start. `size`: what the memory was
    found to bear, None while nothing is known.
    """

    def __init__(self, accumulate: int = 1, *, say: Callable[[str], None] = lambda text: None):
        self.accumulate = accumulate
        self.size: int | None = None
        self.say = say

    def parts(self, batch: Batch) -> list[Batch]:
        """The batch in parts of nearly equal length, in order."""
        count = len(batch)
        pieces = min(count, self.accumulate)
        if self.size is not None:
            pieces = max(pieces, -(-count // self.size))
        if pieces <= 1:
            return [batch]
        edges = [count * n // pieces for n in range(pieces + 1)]
        return [batch.part(start, stop) for start, stop in pairwise(edges)]

    def halve(
        self,
        batch: Batch,
        error: BaseException,
        *,
        learning: bool = False,
        batch_norm: bool = False,
    ) -> None:
        """Half the size that was too large. Raises `NotEnoughMemory` when that was one sample."""
        tried = max(len(each) for each in self.parts(batch))
        if tried <= 1:
            raise NotEnoughMemory(
                f"one sample at a time does not fit: {str(error).splitlines()[0][:200]}",
                fix="a smaller --image-size, a smaller --model, or --precision bfloat16",
            ) from error
        self.size = tried // 2
        changes = (
            in_parts(len(batch), batch_norm=batch_norm) if learning else "nothing else changes"
        )
        self.say(
            f"out of memory: {tried} samples at once are too many, going on with {self.size}; "
            f"{changes}"
        )


def in_parts(count: int, *, batch_norm: bool) -> str:
    """What it means for a step of `count` samples that they go through the model in parts."""
    if batch_norm:
        return (
            f"the batch stays {count}, but batch-norm now sees parts of it, which makes that "
            "another step"
        )
    return f"the batch stays {count}: the step is the same"


def out_of_memory(error: BaseException) -> bool:
    """Whether memory is meant. Torch raises RuntimeError for nearly everything."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or ("alloc" in text and "memory" in text)
    )


def batches_that_fit(
    batch: Batch, micro: MicroBatch, ask: Callable[[Batch], Any]
) -> Iterator[tuple[Batch, Any]]:
    """Each part with what `ask` says of it; where memory runs out, parts are halved and asked
    again. For passes that learn nothing.
    """
    left = batch
    while len(left):
        head = micro.parts(left)[0]
        try:
            answer = ask(head)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            micro.halve(head, error)
            continue
        yield head, answer
        left = left.part(len(head), len(left))
