"""Forward and backward of a step as CUDA graphs: launched at once, not kernel by kernel."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.training.determinism import seed_draws
from opsin.training.precision import Precision
from opsin.training.step import Moment
from opsin.training.untouched import same_buffers_and_draws

if TYPE_CHECKING:
    from opsin.training.supervised import SupervisedStep

GAIN = 0.9
"""Graphs must take at most this share of the time of a step without them."""
TIMES = 5
TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2}
"""How far loss and gradients may lie from those without graphs, relative to their size."""

Capture = Callable[..., Any]


class GraphedForward:
    """Stands for a module's forward pass in training mode, for inputs float32 of one `shape`.

    `record` runs the module on zeros and records what it launches, forward and backward; buffers
    and generators are put back. Afterwards `takes(inputs)` says whether a call may replay it: not
    for another shape (the last batch, a part of one), nor once a weight or buffer lies elsewhere in
    memory, nor for a module with hooks, which would be left out. Only the optimizer's memory and
    the loss lie outside, and stay as they are.

    A replay draws from torch's generator as it is seeded then, not as it was when recorded: the
    graph reads seed and offset from tensors that each replay fills anew (`setup_for_replay` in
    ATen/cuda/CUDAGeneratorImpl.h). So a step depends on its own seed alone, as without graphs.

    Recording fails while another thread allocates on the card or pins memory: it must be over
    before batches are prepared ahead. `capture`: `torch.cuda.make_graphed_callables`, or a test's.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        capture: Capture | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.shape = shape
        self._capture = capture
        self._say = say
        self._run: Callable[[torch.Tensor], Any] | None = None
        self._module: nn.Module | None = None
        self._places: list[int] = []

    @property
    def recorded(self) -> bool:
        """Whether there is something to replay."""
        return self._run is not None

    def record(self, module: nn.Module, precision: Precision, device: torch.device) -> None:
        """Record `module`, in training mode; where that fails, `say` is told why, and the module is
        called as ever.
        """
        self.drop()
        modes = [(part, part.training) for part in module.modules()]
        module.train()
        try:
            if has_hooks(module):
                raise RuntimeError("the module has hooks")
            capture: Any = self._capture or torch.cuda.make_graphed_callables
            with same_buffers_and_draws(module):
                sample = torch.zeros(self.shape, device=device)
                # A frozen or unused weight has no gradient, which is no fault.
                self._run = capture(_Forward(module, precision), (sample,), allow_unused_input=True)
            self._module, self._places = module, _places(module)
        except Exception as error:
            self.drop()
            why = (str(error) or type(error).__name__).splitlines()[0]
            self._say(f"CUDA graphs are not used: {why[:200]}")
        finally:
            for part, mode in modes:
                part.training = mode

    def takes(self, inputs: torch.Tensor) -> bool:
        """Whether a call with `inputs` gives what the module would."""
        if self._run is None or self._module is None:
            return False
        if tuple(inputs.shape) != self.shape or inputs.dtype != torch.float32:
            return False
        if _places(self._module) != self._places or has_hooks(self._module):
            self.drop()
            self._say("CUDA graphs are not used any more: the module was changed")
            return False
        return True

    def __call__(self, inputs: torch.Tensor) -> Any:
        """The module's outputs. They lie where the next call writes its own."""
        assert self._run is not None
        return self._run(inputs)

    def drop(self) -> None:
        """Give back the memory that graphs hold."""
        if self._run is not None:
            self._run, self._module = None, None
            gc.collect()  # torch's wrapper holds itself


def can_record(device: torch.device) -> bool:
    """Whether there are graphs for this kind of device."""
    return device.type == "cuda"


class _Forward(nn.Module):
    """The forward pass as it is recorded: without autocast's cache of weights in 16 bits, which
    would outlive the recording.
    """

    def __init__(self, module: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.module = module
        self.precision = precision

    def forward(self, inputs: torch.Tensor) -> Any:
        with self.precision.autocast(cache=False):
            return self.module(inputs)


@dataclass(frozen=True)
class Comparison:
    """A step with and without graphs: relative distances of loss and gradients, seconds."""

    loss_gap: float
    gradient_gap: float
    tolerance: float
    eager_s: float
    graphs_s: float

    @property
    def why_not(self) -> str:
        """Why a run should do without; empty where it should not."""
        # A gap of nan is below nothing.
        if not (self.loss_gap <= self.tolerance and self.gradient_gap <= self.tolerance):
            return f"gradients differ by {self.gradient_gap:.2g}, the loss by {self.loss_gap:.2g}"
        if self.graphs_s > GAIN * self.eager_s:
            return f"{self.graphs_s * 1e3:.3g} ms a step beside {self.eager_s * 1e3:.3g} without"
        return ""


def compare(
    step: SupervisedStep,
    graphs: GraphedForward,
    batch: Batch,
    device: torch.device,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Learn `batch` with and without `graphs`, which have been recorded, from the same seed and at
    rate 0, then time both in turn. The caller puts weights and optimizer back.
    """

    def learn(with_graphs: GraphedForward | None, moment: Moment) -> tuple[float, float, list[Any]]:
        found: list[Any] = []

        def before_update(optimizer: torch.optim.Optimizer, loss: float) -> None:
            if moment.step == 1:
                found.extend(None if p.grad is None else p.grad.clone() for p in step.learning)

        step.graphs = with_graphs
        seed_draws(moment.seed, device)
        _wait(device)
        begin = clock()
        loss = float(step.learn(batch, moment, before_update)["loss"].mean())
        _wait(device)
        return loss, clock() - begin, found

    sides: tuple[GraphedForward | None, GraphedForward] = (None, graphs)
    try:
        first = Moment(1, 1, 1 + TIMES, 0.0, len(batch), 0)
        (eager, _, wanted), (loss, _, came) = (learn(side, first) for side in sides)
        times: list[list[float]] = [[], []]
        for number in range(TIMES):
            moment = Moment(1, 2 + number, 1 + TIMES, 0.0, len(batch), number)
            for side, kept in zip(sides, times, strict=True):
                kept.append(learn(side, moment)[1])
    finally:
        step.graphs = None
    return Comparison(
        abs(loss - eager) / max(abs(eager), 1e-12),
        _gap(wanted, came),
        TOLERANCE[step.precision.name],
        median(times[0]),
        median(times[1]),
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether anything hangs on a call of `module` or of a part of it."""
    return any(
        part._forward_hooks
        or part._forward_pre_hooks
        or part._backward_hooks
        or part._backward_pre_hooks
        for part in module.modules()
    )


def _places(module: nn.Module) -> list[int]:
    return [each.data_ptr() for each in (*module.parameters(), *module.buffers())]


def _gap(wanted: list[Any], came: list[Any]) -> float:
    """The distance of two gradients as a share of the length of the first."""
    length = distance = 0.0
    for one, other in zip(wanted, came, strict=True):
        one = torch.zeros_like(other) if one is None and other is not None else one
        other = torch.zeros_like(one) if other is None and one is not None else other
        if one is not None:
            length += float(one.double().square().sum())
            distance += float((one - other).double().square().sum())
    return float((distance / max(length, 1e-24)) ** 0.5)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
