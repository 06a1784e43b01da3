"""How long a run will take, and how much memory: from some timed steps and from earlier runs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import torch

from opsin.api.job import Job
from opsin.api.spent import last_time
from opsin.api.tuning import trial_step
from opsin.core.batch import Batch
from opsin.core.device import process_bytes
from opsin.core.words import duration, size
from opsin.training.memory import losses_of, step_memory
from opsin.training.step import Moment
from opsin.training.supervised import SupervisedStep

STEPS = 6
LIMIT_S = 3.0
LIMIT_FRAC = 0.03
"""Of the steps that are foretold; two of them are always tried."""
HEAD_STEP_S = 0.0015
"""A step of a linear head on features, or its share of solving it."""


@dataclass(frozen=True)
class Forecast:
    """Seconds of a step (with the wait for its batch), of a validation, of an epoch with it, of all
    of the training, and of what follows it; bytes of a step by estimate (0 where there is none) and
    of the process at its peak; `at_once`: samples that go through the model together.
    """

    step_s: float
    validation_s: float
    epoch_s: float
    train_s: float
    end_s: float
    step_bytes: int
    peak_bytes: int
    at_once: int

    @property
    def total_s(self) -> float:
        """Seconds of the run from here to its end."""
        return self.train_s + self.end_s

    def sentence(self) -> str:
        """For the plan."""
        return (
            f"about {duration(self.total_s)} ({duration(self.train_s)} to train, "
            f"{self.step_s * 1e3:.3g} ms a step), memory about {size(self.peak_bytes)}"
        )


def forecast(job: Job) -> Forecast | None:
    """`measured` where it leaves no trace and does not fail: training will say why. None for
    somebody's own model or loss, which may remember what cannot be put back, and for several
    processes.
    """
    if job.processes.size > 1 or job.plan.own.model is not None or job.plan.own.loss is not None:
        return None
    try:
        return measured(job)
    except Exception:
        return None


def measured(job: Job) -> Forecast:
    """By some steps as the loop takes them and some batches of a validation, whose weights nobody
    keeps; early stopping is not foreseen. Raises what training would raise in its first step.
    """
    config, known = job.config, last_time(job)
    alone = config.freeze and not config.fine_tune
    steps, val = len(job.learning.plan(1)), job.plain["val"]
    with trial_step(job) as step:
        if alone:
            step_s, needs, at_once, before = 0.0, 0, config.batch_size, process_bytes()
        else:
            step_s, needs, at_once, before = _time_steps(job, step, steps * config.epochs)
        step.evaluate_mode()
        validation_s = _time_validation(job, step)
    ask_s = validation_s / max(1, val.size)
    train_s = epoch_s = HEAD_STEP_S * steps
    if alone:
        step_s = ask_s * config.batch_size
    else:
        epoch_s = step_s * steps + validation_s
        train_s = epoch_s * config.epochs
    if config.freeze:  # features first, then a head
        views = 1 if str(config.augment) == "none" else config.views
        train_s += ask_s * (job.learning.size * views + val.size)
        train_s += HEAD_STEP_S * steps * config.epochs
    end_s = ask_s * sum(loader.size for loader in job.plain.values())
    end_s += known["bundle"] * config.bundle + known["report"] * config.report
    peak = before + needs
    if config.bundle or config.report:
        peak = max(peak, int(known["peak_bytes"]))
    return Forecast(step_s, validation_s, epoch_s, train_s, end_s, needs, peak, at_once)


def _time_steps(job: Job, step: SupervisedStep, steps: int) -> tuple[float, int, int, int]:
    """Seconds of a step of the loop, its loader included, which may prepare the next batch
    meanwhile; bytes of a step; samples at once; bytes of the process before it.
    """
    times: list[float] = []
    needs = at_once = before = 0
    begin = time.perf_counter()
    while True:
        for batch in job.learning.epoch(1):
            there = batch.to(job.plan.device)
            if not before:
                before, needs = max(1, process_bytes()), _needs(step, there)
                begin = time.perf_counter()
            moment = Moment(1, 1, 1, 0.0, len(there), 0)
            value = step.learn(there, moment, lambda optimizer, loss: None)["loss"]
            float(value.mean())  # waits for the device
            at_once = at_once or max(len(each) for each in step.micro.parts(there))
            now = time.perf_counter()
            times.append(now - begin)
            begin = now
            limit = min(LIMIT_S, LIMIT_FRAC * steps * min(times))
            if len(times) > STEPS or (len(times) > 1 and sum(times) > limit):
                # The first one prepares what the others find.
                return median(times[1:]), needs, at_once, before


def _needs(step: SupervisedStep, batch: Batch) -> int:
    """Bytes of a step beyond what the process holds."""
    if batch.inputs.device.type == "cuda":
        return torch.cuda.max_memory_allocated(batch.inputs.device)
    if batch.inputs.device.type != "cpu":
        return 0
    estimate = step_memory(step.module, step.learning, losses_of(step), batch)
    return estimate.of(max(len(each) for each in step.micro.parts(batch)))


@torch.no_grad()
def _time_validation(job: Job, step: SupervisedStep) -> float:
    """Seconds of a validation by its first batches."""
    loader = job.plain["val"]
    meter, asked, begin = step.meter([]), 0, time.perf_counter()
    for batch in loader.epoch(1):
        there = batch.to(job.plan.device)
        if not asked:  # the first one prepares what the others find
            step.evaluate(there, step.meter([]))
            begin = time.perf_counter()
        step.evaluate(there, meter)
        asked += len(batch)
        if time.perf_counter() - begin > LIMIT_S / 6:
            break
    return (time.perf_counter() - begin) / max(1, asked) * loader.size
