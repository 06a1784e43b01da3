"""The step of every task with a loss: forward, loss, backward, clip, update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.core.device import memory
from opsin.core.micro_batch import MicroBatch, batches_that_fit, out_of_memory
from opsin.tasks.guards import check_first_batch, check_labels
from opsin.tasks.meter import Meter
from opsin.tasks.mixing import losses as mixed_losses
from opsin.tasks.mixing import scores as mixed_scores
from opsin.tasks.task import Task
from opsin.training.determinism import seed_draws
from opsin.training.graphs import GraphedForward
from opsin.training.memory import parts_that_fit
from opsin.training.norms import norms
from opsin.training.optim import set_rate
from opsin.training.penalties import add_penalties
from opsin.training.precision import Precision
from opsin.training.processes import ALONE, Processes
from opsin.training.step import BeforeUpdate, Moment, Step
from opsin.training.sums import Values


class SupervisedStep(Step):
    """`module` learns by `task`'s loss what is in `optimizer`; the rest of it stays as it is.

    `frozen`: parts that stay in evaluation mode. `micro`: how a batch is cut; the gradient is
    that of the mean over the whole batch however it is cut, and over all processes. `clip_norm`:
    the longest gradient, all parameters together. `l1`, `l2`: see `opsin.training.penalties`; the
    reported loss is without them. `graphs`: recorded by `begin`; takes the batches that it can.

    Raises `NotEnoughMemory` when a single sample does not fit, `WrongUsage` when model, loss and
    labels do not belong together (looked at with the first batch).
    """

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        optimizer: torch.optim.Optimizer,
        *,
        frozen: Sequence[nn.Module] = (),
        micro: MicroBatch | None = None,
        precision: Precision | None = None,
        clip_norm: float | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        graphs: GraphedForward | None = None,
    ) -> None:
        self.module = module
        self.task = task
        self.optimizer = optimizer
        self.frozen = tuple(frozen)
        self.micro = micro or MicroBatch()
        self.precision = precision or Precision("float32", torch.device("cpu"))
        self.clip_norm = clip_norm
        self.l1, self.l2 = l1, l2
        self.graphs = graphs
        self.learning = [p for group in optimizer.param_groups for p in group["params"]]
        self._evaluation = MicroBatch(say=self.micro.say)
        self._device = torch.device("cpu")
        self._processes = ALONE
        self._wrapped = module
        self._checked = False
        self._measured = False

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """The only one."""
        return {"optimizer": self.optimizer}

    @property
    def beside(self) -> Mapping[str, nn.Module]:
        """A loss of one's own that is a module: it may keep running numbers."""
        loss = getattr(self.task, "loss_function", None)
        return {"loss": loss} if isinstance(loss, nn.Module) else {}

    def begin(self, device: torch.device, processes: Processes) -> None:
        """Switch gradients on for what learns, off for the rest."""
        self._device = device
        learning = set(map(id, self.learning))
        for parameter in self.module.parameters():
            parameter.requires_grad_(id(parameter) in learning)
        for module in self.beside.values():
            module.to(device)
        self._processes = processes
        self._wrapped = processes.wrap(self.module)
        if self.graphs:
            self.graphs.record(self.module, self.precision, device)

    def learn_mode(self) -> None:
        """Training mode for what learns, evaluation mode for what is frozen."""
        self.module.train()
        for part in self.frozen:
            part.eval()

    def learn(self, batch: Batch, moment: Moment, before_update: BeforeUpdate) -> Values:
        """One update; values of each sample."""
        if not self._measured:  # a resumed run goes on with the parts that it had
            free = memory()[1] // self._processes.size
            self.micro.size = self.micro.size or parts_that_fit(self, batch, available=free)
            self._measured = True
        set_rate(self.optimizer, moment.rate)
        buffers = [buffer.clone() for buffer in self.module.buffers()]
        while True:
            try:
                values = self._backward(batch, moment)
                break
            except (RuntimeError, MemoryError) as error:
                # Halving the parts of one process alone would leave the others waiting.
                if not out_of_memory(error) or self._processes.size > 1:
                    raise
                self.micro.halve(batch, error, learning=True, batch_norm=bool(norms(self.module)))
                if self.graphs:  # parts have another shape, and what is recorded holds memory
                    self.graphs.drop()
                    self.graphs = None
            self._undo(buffers, moment)
        self.precision.unscale(self.optimizer)
        before_update(self.optimizer, float(values["loss"].mean()))
        add_penalties(self.learning, l1=self.l1, l2=self.l2)
        if self.clip_norm:
            nn.utils.clip_grad_norm_(self.learning, self.clip_norm)
        self.precision.step(self.optimizer)
        return values

    def evaluate(self, batch: Batch, meter: Meter) -> Values:
        """Loss and scores of each sample; a batch that does not fit is cut."""

        def ask(part: Batch) -> tuple[torch.Tensor, Values]:
            with self.precision.autocast():
                outputs = self.module(part.inputs)
            outputs = _float32(outputs)
            check_labels(self.task, outputs, part)
            return outputs, self._values(outputs, self.task.loss(outputs, part), part)

        found = []
        for part, (outputs, values) in batches_that_fit(batch, self._evaluation, ask):
            meter.update(outputs, part)
            found.append(values)
        return _joined(found)

    def meter(self, names: Sequence[str]) -> Meter:
        """What the task can tell beyond means."""
        return self.task.meter(names)

    def state(self) -> dict[str, Any]:
        """The size that fits, and the scale of float16 gradients."""
        return {
            "micro_batch": self.micro.size,
            "measured": self._measured,
            "evaluation": self._evaluation.size,
            "precision": self.precision.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self.micro.size, self._measured = state["micro_batch"], state["measured"]
        self._evaluation.size = state["evaluation"]
        self.precision.load(state["precision"])

    def _backward(self, batch: Batch, moment: Moment) -> Values:
        self.optimizer.zero_grad(set_to_none=True)
        parts = self.micro.parts(batch)
        found = []
        for number, part in enumerate(parts, start=1):
            if number == len(parts):
                found.append(self._backward_part(part, moment))
            else:
                with self._processes.without_sync(self._wrapped):
                    found.append(self._backward_part(part, moment))
        return _joined(found)

    def _backward_part(self, part: Batch, moment: Moment) -> Values:
        if self.graphs and self.graphs.takes(part.inputs):
            outputs = self.graphs(part.inputs)
        else:
            with self.precision.autocast():
                outputs = self._wrapped(part.inputs)
        outputs = _float32(outputs)
        if not self._checked:
            check_first_batch(self.task, self.module, outputs, part)
            self._checked = True
        check_labels(self.task, outputs, part)
        losses = mixed_losses(self.task, outputs, part)
        # Gradients are averaged over the processes, and each holds its share of the samples.
        total = losses.sum() / moment.samples
        if self._processes.size > 1:
            total = total * (0.0 if part.filler else float(self._processes.size))
        torch.autograd.backward(self.precision.scale(total))
        with torch.no_grad():
            return self._values(outputs, losses, part)

    def _values(self, outputs: torch.Tensor, losses: torch.Tensor, part: Batch) -> Values:
        scores = mixed_scores(self.task, outputs, part)
        return {"loss": losses.detach(), **{name: v.detach() for name, v in scores.items()}}

    def _undo(self, buffers: Sequence[torch.Tensor], moment: Moment) -> None:
        """What an attempt that failed has changed: running statistics, and torch's generator."""
        with torch.no_grad():
            for buffer, before in zip(self.module.buffers(), buffers, strict=True):
                buffer.copy_(before)
        seed_draws(moment.seed, self._device)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _float32(outputs: Any) -> Any:
    """Losses are computed in float32 whatever the model computed in."""
    if isinstance(outputs, torch.Tensor) and outputs.dtype in (torch.bfloat16, torch.float16):
        return outputs.float()
    return outputs


def _joined(found: Sequence[Values]) -> Values:
    if len(found) == 1:
        return found[0]
    return {name: torch.cat([values[name] for values in found]) for name in found[0]}
