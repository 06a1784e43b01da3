"""The one loop. It knows stages, a task and callbacks, and no kind of problem."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from opsin.core.errors import NumbersWrong
from opsin.core.seeding import torch_seed
from opsin.evaluation.collect import EpochLoader
from opsin.tasks.task import Task
from opsin.training.callback import Ask, BatchRecord, Callback
from opsin.training.checkpoint import CheckpointStore, Saved, pack_optimizer, unpack_optimizer
from opsin.training.history import EpochRecord, History
from opsin.training.interrupt import StopRequest
from opsin.training.optim import make_optimizer
from opsin.training.stage import Stage


class Trainer:
    """Train `model` through `stages`; `fit` returns the history and leaves the best weights in it.

    `model` is what checkpoints hold; each stage names the module that it calls. A run that is
    killed and resumed from its last whole epoch ends with the same bits, because order and
    draws are keyed by (seed, epoch) and nothing else carries state.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        stages: Sequence[Stage],
        *,
        checkpoints: CheckpointStore,
        device: torch.device,
        seed: int,
        optimizer: str = "adam",
        weight_decay: float = 0.0,
        monitor: str = "val_loss",
        callbacks: Sequence[Callback] = (),
        stop: StopRequest | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.task = task
        self.stages = list(stages)
        self.checkpoints = checkpoints
        self.device = device
        self.seed = seed
        self.optimizer_name = optimizer
        self.weight_decay = weight_decay
        self.callbacks = list(callbacks)
        self.stop = stop or StopRequest()
        self.settings = settings or {}
        """What a resumed run must have in common with this one; kept in every checkpoint."""
        self.history = History(monitor)

    @property
    def epochs(self) -> int:
        """Epochs of all stages."""
        return sum(stage.epochs for stage in self.stages)

    def fit(self, resume_from: Saved | None = None) -> History:
        """Run the stages that are not done. Raises `NumbersWrong`, `Interrupted`, `NoRoom`."""
        state = resume_from.state if resume_from else None
        if resume_from and state:
            self.history = History.from_list(self.history.monitor, state["history"])
            self.model.load_state_dict(_model_part(resume_from.tensors))
        self.model.to(self.device)
        for callback in self.callbacks:
            callback.on_train_start(self.history, self.epochs)
        # What torch draws itself is seeded step by step; the caller's generator stays untouched.
        with torch.random.fork_rng(devices=_generators(self.device)):
            for number, stage in enumerate(self.stages):
                if state and (number < state["stage"] or self._ended(number, state)):
                    continue
                continued = state is not None and number == state["stage"]
                self._run_stage(number, stage, resume_from if continued else None)
        self._use_best()
        for callback in self.callbacks:
            callback.on_train_end(self.history)
        return self.history

    def _ended(self, number: int, state: dict[str, Any]) -> bool:
        return bool(number == state["stage"] and state["stage_ended"])

    def _run_stage(self, number: int, stage: Stage, saved: Saved | None) -> None:
        if saved is None and number > 0:
            self._use_best()
        optimizer = make_optimizer(
            self.optimizer_name, stage.learning, lr=stage.lr, weight_decay=self.weight_decay
        )
        if saved is not None:
            unpack_optimizer(optimizer, saved.state["optimizer"], saved.tensors)
        done = sum(record.stage == stage.name for record in self.history.records)
        for in_stage in range(done + 1, stage.epochs + 1):
            epoch = len(self.history.records) + 1
            started = time.monotonic()
            values = self._train_epoch(stage, optimizer, epoch, in_stage)
            values |= self._validate(stage, epoch)
            _refuse_nan(values, epoch)
            rate = optimizer.param_groups[0]["lr"]
            seconds = round(time.monotonic() - started, 4)
            record = EpochRecord(epoch, stage.name, rate, values, seconds)
            self.history.records.append(record)
            if self.history.best is record:
                self.checkpoints.save_best(epoch, self.model.state_dict())
            answers = [callback.on_epoch_end(record, self.history) for callback in self.callbacks]
            ended = in_stage == stage.epochs or Ask.STOP in answers
            self._save(epoch, number, ended, optimizer)
            if ended:
                return
            self._stop_if_asked(f"after epoch {epoch}")

    def _train_epoch(
        self, stage: Stage, optimizer: torch.optim.Optimizer, epoch: int, in_stage: int
    ) -> dict[str, float]:
        stage.learn_mode()
        sums: dict[str, torch.Tensor] = {}
        steps = len(stage.train.plan(epoch))
        for step, batch in enumerate(stage.train.epoch(epoch), start=1):
            batch = batch.to(self.device)
            torch.manual_seed(torch_seed(self.seed, epoch, step, "step"))
            outputs = stage.module(batch.inputs)
            losses = self.task.loss(outputs, batch)
            mean = losses.mean()
            loss = float(mean.detach())
            if not math.isfinite(loss):
                raise NumbersWrong(
                    f"loss became {loss} at epoch {epoch}, step {step} of {steps}; "
                    "the weights of the last whole epoch are kept",
                    code="diverged",
                    fix=f"a lower rate, for example --lr {stage.lr / 10:g}",
                )
            for group in optimizer.param_groups:
                group["lr"] = stage.rate(in_stage, step, steps)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(mean)
            optimizer.step()
            with torch.no_grad():
                self._add(sums, "train_loss", losses.detach())
                for name, values in self.task.scores(outputs, batch).items():
                    self._add(sums, f"train_{name}", values)
            record = BatchRecord(epoch, self.epochs, step, steps, loss)
            for callback in self.callbacks:
                callback.on_batch_end(record)
            self._stop_if_asked(f"in epoch {epoch}, after step {step} of {steps}")
        return _means(sums, stage.train)

    @torch.no_grad()
    def _validate(self, stage: Stage, epoch: int) -> dict[str, float]:
        stage.module.eval()
        sums: dict[str, torch.Tensor] = {}
        for batch in stage.val.epoch(epoch):
            batch = batch.to(self.device)
            outputs = stage.module(batch.inputs)
            self._add(sums, "val_loss", self.task.loss(outputs, batch))
            for name, values in self.task.scores(outputs, batch).items():
                self._add(sums, f"val_{name}", values)
        return _means(sums, stage.val)

    @staticmethod
    def _add(sums: dict[str, torch.Tensor], name: str, values: torch.Tensor) -> None:
        total = values.double().sum()
        sums[name] = sums[name] + total if name in sums else total

    def _save(self, epoch: int, stage: int, ended: bool, optimizer: torch.optim.Optimizer) -> None:
        optimizer_state, tensors = pack_optimizer(optimizer)
        tensors |= {f"model.{name}": value for name, value in self.model.state_dict().items()}
        state = {
            "epoch": epoch,
            "stage": stage,
            "stage_ended": ended,
            "history": self.history.to_list(),
            "optimizer": optimizer_state,
            "threads": torch.get_num_threads(),
            "settings": self.settings,
        }
        self.checkpoints.save(epoch, state, tensors)
        # The spare checkpoint needs the best of its own history.
        histories = [self.history, History(self.history.monitor, self.history.records[:-1])]
        self.checkpoints.tidy_best({h.best.epoch for h in histories if h.best})

    def _use_best(self) -> None:
        if self.history.best:
            saved = self.checkpoints.best(self.history.best.epoch)
            self.model.load_state_dict(saved.tensors)

    def _stop_if_asked(self, where: str) -> None:
        done = len(self.history.records)
        self.stop.check(f"{where}; {done} whole epoch{'' if done == 1 else 's'} saved")


def _generators(device: torch.device) -> list[torch.device]:
    """The devices, beside the processor, whose generators the loop seeds."""
    return [device] if device.type == "cuda" else []


def _refuse_nan(values: dict[str, float], epoch: int) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise NumbersWrong(
                f"{name} became {value} at epoch {epoch}; the weights of the last whole epoch "
                "are kept",
                code="diverged",
                fix="a lower rate (--lr), or look at the pictures with opsin check",
            )


def _model_part(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    prefix = "model."
    return {k[len(prefix) :]: value for k, value in tensors.items() if k.startswith(prefix)}


def _means(sums: dict[str, torch.Tensor], loader: EpochLoader) -> dict[str, float]:
    return {name: float(total) / loader.size for name, total in sums.items()}
