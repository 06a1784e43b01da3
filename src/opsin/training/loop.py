"""The one loop. It knows stages, steps and callbacks, and no kind of problem."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.core.errors import WrongUsage
from opsin.core.seeding import torch_seed
from opsin.training import events
from opsin.training.best import BestWeights
from opsin.training.callback import Ask, Callback, Scale
from opsin.training.checkpoint import CheckpointStore, Saved
from opsin.training.determinism import reproducible, seed_draws
from opsin.training.history import EpochRecord, History, refuse_nan
from opsin.training.hooks import Hooks
from opsin.training.interrupt import StopRequest
from opsin.training.monitor import Monitor
from opsin.training.planned import epochs_of_all, planned
from opsin.training.position import Position
from opsin.training.processes import ALONE, Processes
from opsin.training.saving import Saving
from opsin.training.snapshot import put_back, take, unpack_step
from opsin.training.stage import Stage, refuse_short
from opsin.training.step import Moment
from opsin.training.sums import Sums
from opsin.training.validation import validate


class Trainer:
    """Train `model` through `stages`; `fit` returns the history and leaves the best weights in it.

    `model` is what checkpoints hold; each stage's step names the module that it calls. A run that
    is killed and resumed ends with the same bits: order and draws are keyed by (seed, epoch, step),
    and everything else that a step depends on is in the checkpoint.
    """

    def __init__(
        self,
        model: nn.Module,
        stages: Sequence[Stage],
        *,
        checkpoints: CheckpointStore,
        device: torch.device,
        seed: int,
        monitors: Sequence[Monitor] = (Monitor("val_loss"),),
        callbacks: Sequence[Callback] = (),
        saving: Saving | None = None,
        stop: StopRequest | None = None,
        processes: Processes = ALONE,
        restore_best: bool = True,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.stages = list(stages)
        self.checkpoints = checkpoints
        self.device = device
        self.seed = seed
        self.best = BestWeights(checkpoints, monitors)
        self.history = History(monitors[0])
        self.hooks = Hooks(callbacks)
        self.saving = saving or Saving()
        self.stop = stop or StopRequest()
        self.processes = processes
        self.restore_best = restore_best
        self.settings = settings or {}
        """What a resumed run must have in common with this one; kept in every checkpoint."""
        self.at = Position()
        self.sums = Sums()
        self._clock = time.monotonic()

    @property
    def epochs(self) -> int:
        """Epochs of all stages: of those that are over as many as they had."""
        return epochs_of_all(self.stages, self.at.stage, self.history)

    def fit(self, resume_from: Saved | None = None) -> History:
        """Run what is not done. Raises `NumbersWrong`, `Interrupted`, `NoRoom`, `WrongUsage`."""
        if resume_from:
            put_back(self, resume_from)
        self.model.to(self.device)
        try:
            with reproducible(self.device):
                self.hooks.tell(
                    events.TrainStart(self.model, self.history, self.epochs, self.at.total)
                )
                for number in range(self.at.stage, len(self.stages)):
                    continued = resume_from if number == self.at.stage else None
                    self._run_stage(number, continued)
                if self.restore_best:
                    self.best.use(self.model, self.history)
                self.hooks.tell(events.TrainEnd(self.model, self.history))
            self.hooks.raise_failed()
        except BaseException as error:
            self.hooks.tell(events.Failure(error, self.history))
            raise
        return self.history

    def _run_stage(self, number: int, saved: Saved | None) -> None:
        stage = self.stages[number]
        done = len(self.history.of_stage(stage.name))
        if saved and (self.at.stage_ended or done >= stage.epochs):
            return
        if not saved:
            if number:
                self.best.use(self.model, self.history)
            self.at = Position(stage=number, total=self.at.total)
        stage.train.share = stage.val.share = self.processes.share
        stage.step.begin(self.device, self.processes)
        if saved:
            unpack_step(stage.step, saved.state["learner"], saved.tensors)
        self.hooks.tell(events.StageStart(stage.name, stage.step.module, saved is not None))
        self.hooks.raise_failed()
        while not self.at.stage_ended and done < self.stages[number].epochs:
            done += 1
            self._run_epoch(number, done)

    def _run_epoch(self, number: int, in_stage: int) -> None:
        stage = self.stages[number]
        epoch = len(self.history.records) + 1
        self._clock = time.monotonic() - self.at.seconds
        start = events.EpochStart(epoch, self.epochs, stage.name, self.history, stage.epochs)
        answers = self.hooks.tell(start)
        scales = [each.factor for each in answers if isinstance(each, Scale)]
        if self.processes.any(self.hooks.failed is not None)[0]:
            self._stop(f"before epoch {epoch}")
        stage = self.stages[number] = planned(stage, answers, in_stage, self.processes)
        plan = stage.train.plan(epoch)

        def rate(step: int) -> float:
            return stage.rate(in_stage, step, len(plan)) * math.prod(scales)

        if not self.at.enough:
            self._learn(stage, epoch, [len(batch) for batch in plan], rate)
        means = self.sums.means("train_", self.processes)
        self.hooks.tell(events.ValidationStart(epoch, self.model))
        watched = self.best.monitors
        values = validate(stage, epoch, watched, self.device, self.processes, self.stop)
        if values is not None:
            last = rate(max(1, self.at.step))
            record = EpochRecord(epoch, stage.name, last, means | values, self._seconds())
            refuse_nan(record, [each.name for each in watched])
            self.history.records.append(record)
            self.best.note(self.model, self.history)
        self.hooks.tell(events.ValidationEnd(epoch, self.model, values or {}))
        if values is None:
            self._stop(f"while epoch {epoch} was validated")
        end = events.EpochEnd(self.history.records[-1], self.history, self.epochs)
        asks = self.hooks.tell(end)
        enough, due, stop = self.processes.any(
            self.at.enough or Ask.STOP in asks,
            Ask.SAVE in asks or self.saving.due(self.at.total),
            self.stop.asked or self.hooks.failed is not None,
        )
        if not stop:  # else a process that failed may not ask, and the others would wait for it
            stage = self.stages[number] = planned(stage, asks, in_stage, self.processes)
        ended = enough or in_stage == stage.epochs
        self.at = Position(self.at.stage, ended, total=self.at.total)
        self.sums = Sums()
        last_of_all = ended and self.at.stage == len(self.stages) - 1
        if stop and not last_of_all:
            self._stop(f"after epoch {epoch}")
        if due or ended:
            self._save()

    def _learn(
        self, stage: Stage, epoch: int, sizes: Sequence[int], rate: Callable[[int], float]
    ) -> None:
        """The steps of an epoch that are left, or those before a callback asks to end the stage."""
        steps = len(sizes)
        stage.step.learn_mode()
        skippers = self.processes.any(self.hooks.listens(events.Event.BATCH_START))[0]
        for batch in stage.train.epoch(epoch, self.at.step):
            step = self.at.step + 1
            seed = torch_seed(self.seed, epoch, step, self.processes.rank, "step")
            moment = Moment(epoch, step, steps, rate(step), sizes[step - 1], seed)
            seed_draws(seed, self.device)
            skip = skippers and self._skip(batch, moment)
            loss = math.nan if skip else self._step(stage, batch.to(self.device), moment)
            self.at.step, self.at.total = step, self.at.total + 1
            end = events.BatchEnd(epoch, self.epochs, step, steps, self.at.total, loss, moment.rate)
            asks = self.hooks.tell(end)
            stop, self.at.enough, due = self.processes.any(
                self.stop.asked or self.hooks.failed is not None,
                Ask.STOP in asks,
                Ask.SAVE in asks or self.saving.due(self.at.total),
            )
            if stop:
                self._stop(f"in epoch {epoch}, after step {step} of {steps}")
            if self.at.enough:
                return
            if due and step < steps:
                self.at.seconds = self._seconds()
                self._save()
        refuse_short(epoch, self.at.step, steps)

    def _step(self, stage: Stage, batch: Batch, moment: Moment) -> float:
        def before_update(optimizer: torch.optim.Optimizer, loss: float) -> None:
            module = stage.step.module
            where = (moment.epoch, moment.step, moment.steps)
            self.hooks.tell(events.UpdateStart(*where, loss, batch, module, optimizer))
            self.hooks.raise_failed()  # nothing consistent can be saved between backward and update

        values = stage.step.learn(batch, moment, before_update)
        if not batch.filler:
            self.sums.add(values)
        return float(values["loss"].mean())

    def _skip(self, batch: Batch, moment: Moment) -> bool:
        start = events.BatchStart(moment.epoch, moment.step, moment.steps, batch)
        asks = self.hooks.tell(start)
        skip, failed = self.processes.any(Ask.SKIP in asks, self.hooks.failed is not None)
        if failed:
            self._stop(f"in epoch {moment.epoch}, before step {moment.step} of {moment.steps}")
        return skip

    def _stop(self, where: str) -> NoReturn:
        if self.at.step:
            self.at.seconds = self._seconds()
        self._save()
        self.hooks.raise_failed()
        if not self.processes.any(self.stop.asked)[0]:
            raise WrongUsage("a callback failed in another process", code="callback_failed")
        raise self.stop.fault(f"{where}; saved as {self.checkpoints.last()}")

    def _seconds(self) -> float:
        return round(time.monotonic() - self._clock, 4)

    def _save(self) -> None:
        known = self.hooks.failed
        state, tensors = take(self)
        if self.hooks.failed is not known:  # a callback's memory is not to be had
            self.hooks.raise_failed()

        def write() -> None:
            self.best.write()
            self.checkpoints.save(self.at.total, state, tensors)
            self.best.tidy(self.history)

        if self.processes.rank == 0:
            self.saving.patiently(write, self.stop, self.checkpoints.last())
        self.saving.saved(self.at.total)
