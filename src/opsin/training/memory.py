"""How much memory a training step takes, found out before it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.core.device import memory
from opsin.core.errors import NotEnoughMemory, OpsinError
from opsin.core.micro_batch import in_parts
from opsin.core.words import size
from opsin.training.finders.batches import batch_of
from opsin.training.norms import norms
from opsin.training.untouched import same_buffers_and_draws

if TYPE_CHECKING:
    from opsin.training.supervised import SupervisedStep

LARGEST = 2.5
"""What lives beside the saved tensors, in sizes of the largest of them: the gradients of two
neighbours, and a copy in the order that a convolution wants."""
HOLES = 1.25
"""Pages that the allocator has taken and cannot use."""
STATES = 2
"""Tensors that an optimizer keeps for each parameter: Adam's two; others need fewer."""
LIBRARIES = 32_000_000
"""What kernels take for themselves, of any step."""
MARGIN = 0.8
"""The share of the available memory that a step may take."""
NO_QUESTION = 0.1
"""A step that needs less than this share of it by a gross bound is not measured any further."""


@dataclass(frozen=True)
class StepMemory:
    """Bytes beyond the weights and the batch itself: `fixed` of any step, and more a sample."""

    fixed: float
    per_sample: float

    def of(self, samples: int) -> int:
        """Bytes of a step of `samples` that go through the model at once.

        >>> StepMemory(100, 8).of(10)
        180
        """
        return round(self.fixed + samples * self.per_sample)

    def samples(self, available: int) -> int:
        """The most samples that `available` bytes hold.

        >>> StepMemory(100, 8).samples(200)
        12
        """
        return max(0, int((available - self.fixed) / self.per_sample))


def step_memory(
    module: nn.Module,
    learning: Iterable[nn.Parameter],
    loss_of: Callable[[Batch], Any],
    batch: Batch,
) -> StepMemory:
    """An estimate for steps of `module` by `loss_of(batch)`, from forward passes of two and of four
    samples: what they save for the backward pass grows with the batch along a line.

    Against the peak of the process measured on CPU: see `tests/training/test_memory.py`. Too low
    where a module saves little and computes again (activation checkpointing). Buffers, torch's
    generators and gradients stay as they are.
    """
    gradients = sum(p.numel() * p.element_size() for p in learning)
    standing = LIBRARIES + (1 + STATES) * gradients
    # Copies: the storage of a slice is that of the whole batch.
    few, more = (batch_of(batch, min(samples, len(batch))) for samples in (2, 4))
    low, high = (activation_bytes(module, loss_of, each) for each in (few, more))
    if len(more) == len(few):
        return StepMemory(standing, max(1.0, high / len(more)))
    per_sample = max(1.0, (high - low) / (len(more) - len(few)))
    return StepMemory(standing + max(0.0, low - per_sample * len(few)), per_sample)


def activation_bytes(module: nn.Module, loss_of: Callable[[Batch], Any], batch: Batch) -> float:
    """Bytes that forward and backward of `batch` take at their peak, by what forward saves."""
    there = [*module.parameters(), *module.buffers(), batch.inputs]
    known = {each.untyped_storage().data_ptr() for each in there}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    def unpack(tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    with (
        same_buffers_and_draws(module),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(pack, unpack),
    ):
        # The loss holds the graph: as long as it lives, no storage is given out twice.
        loss = loss_of(batch)
        found = HOLES * sum(saved.values()) + LARGEST * max(saved.values(), default=0)
    del loss
    return found


def losses_of(step: SupervisedStep) -> Callable[[Batch], Any]:
    """The forward pass of `step` up to the losses of each sample, as a function of a batch."""

    def losses(batch: Batch) -> Any:
        with step.precision.autocast():
            outputs = step.module(batch.inputs)
        if isinstance(outputs, torch.Tensor) and outputs.dtype in (torch.bfloat16, torch.float16):
            outputs = outputs.float()
        return step.task.loss(outputs, batch)

    return losses


def parts_that_fit(
    step: SupervisedStep, batch: Batch, *, available: int | None = None
) -> int | None:
    """How many samples of `batch` may go through the model at once; None where all of them may,
    and where nothing is known. `available`: bytes, else those of the machine now.

    For CPU, where a process that takes too much is killed and nothing can be caught; other devices
    say so when they are full. Raises `NotEnoughMemory` when a single sample needs more than there
    is.
    """
    if batch.inputs.device.type != "cpu" or batch.filler:
        return None
    free = memory()[1] if available is None else available
    wanted = max(len(each) for each in step.micro.parts(batch))
    if not free:
        return None
    try:
        found = _measured(step, batch, wanted, free)
    except OpsinError:
        raise
    except Exception:  # what cannot take two samples cannot be measured, and may well learn
        return None
    if found is None or found.of(wanted) <= MARGIN * free:
        return None
    if found.of(1) > free:
        raise NotEnoughMemory(
            f"a step of one sample needs about {size(found.of(1))}, and {size(free)} are free; "
            f"smallest size tried: 1 of {len(batch)}",
            fix="a smaller --image-size, or a smaller --model",
        )
    fits = max(1, found.samples(int(MARGIN * free)))
    changes = in_parts(len(batch), batch_norm=bool(norms(step.module)))
    step.micro.say(
        f"a step of {wanted} samples at once needs about {size(found.of(wanted))}, and "
        f"{size(free)} are free: going on with {fits} at once; {changes}"
    )
    return fits


def _measured(step: SupervisedStep, batch: Batch, wanted: int, free: int) -> StepMemory | None:
    """The estimate, or None when even a gross bound leaves no question."""
    loss_of = losses_of(step)
    few = batch_of(batch, min(2, len(batch)))
    gross = activation_bytes(step.module, loss_of, few) / len(few) * wanted
    weights = sum(p.numel() * p.element_size() for p in step.learning)
    if gross + LIBRARIES + (1 + STATES) * weights < NO_QUESTION * free:
        return None
    return step_memory(step.module, step.learning, loss_of, batch)
