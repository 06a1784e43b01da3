"""How long a run will take, and how much memory: from some timed steps and from earlier runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch

from opsin.api.running.fit import job_stages
from opsin.api.running.job import Job
from opsin.api.running.spent import last_time
from opsin.api.running.timings import Answered, faults_where, only_features, trial_step
from opsin.api.running.tuning import Tuning
from opsin.core.batch import Batch
from opsin.core.device import process_bytes
from opsin.core.progress import Silent
from opsin.core.words import duration, size
from opsin.features.ask import AT_ONCE, frozen, laid
from opsin.features.extract import AllAtOnce, FeatureLoader
from opsin.training.interrupt import StopRequest
from opsin.training.memory import losses_of, step_memory
from opsin.training.probe import awaits_memory
from opsin.training.step import Moment
from opsin.training.supervised import SupervisedStep

STEPS = 6
LIMIT_S = 3.0
LIMIT_FRAC = 0.03
"""Of the steps that are foretold; two of them are always tried, and up to `UNSETTLED` where they
waited for memory."""
UNSETTLED = 4
SOLVE_S = 1.8
"""To hash a frozen backbone, load what solves a linear head, and solve a small one."""
SOLVE_BYTES = 150_000_000
"""What is loaded for it."""
TRUSTED = 3
"""So many timed steps of a probe tell how long one takes; after fewer some more are tried."""


@dataclass(frozen=True)
class Forecast:
    """Seconds of a step (with the wait for its batch), of a validation, of an epoch with it (0 for
    a head on stored features, whose epochs take next to nothing), of all of the training, and of
    what follows it; bytes of a step by estimate (0 where there is none) and of the process at its
    peak; `at_once`: samples that go through the model together.
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
            f"about {duration(self.total_s)} from here ({duration(self.train_s)} to train, "
            f"{self.step_s * 1e3:.3g} ms a step), memory about {size(self.peak_bytes)}"
        )


def forecast(tuning: Tuning) -> Forecast | None:
    """`measured` where it leaves no trace and does not fail: training will say why. None for
    somebody's own model or loss, which may remember what cannot be put back, and for several
    processes.
    """
    job = tuning.job
    if job.processes.size > 1 or job.plan.own.model is not None or job.plan.own.loss is not None:
        return None
    try:
        return measured(tuning)
    except Exception:
        return None


def measured(tuning: Tuning, *, anew: bool = False) -> Forecast:
    """By what the last run like this one took on this machine; else by the steps that were timed
    to choose the settings, else, and with `anew`, by some more, whose weights nobody keeps. Early
    stopping is not foreseen. Raises what training would raise in its first step.
    """
    job = tuning.job
    with trial_step(job) as (step, answered):
        timed = _time(job, step, answered, tuning, anew)
    known, config = timed.known, job.config
    epoch_s = 0.0 if only_features(config) else known.get("epoch_s", timed.epoch_s)
    train_s = epoch_s * config.epochs
    features_s = _features_s(job, timed) if config.freeze else 0.0
    asked_s = features_s + SOLVE_S if config.freeze else 0.0
    if config.max_time:  # which no backbone that is being asked looks at
        train_s = min(train_s, max(0.0, config.max_time - asked_s))
    train_s += asked_s
    asked = sum(loader.size for loader in job.plain.values())
    if only_features(config) and config.augment == "none":  # the others have been asked by then
        asked -= job.plain["train"].size + job.plain["val"].size
    end_s = known.get("evaluate", timed.ask_s * asked)
    peak = max(timed.before + timed.needs, known.get("peak_bytes", 0))
    if only_features(config) and not features_s:  # then what the backbone says of the test is kept
        end_s = 0.0
        if not (config.bundle or config.report):
            peak = timed.before + SOLVE_BYTES
    end_s += known["bundle"] * config.bundle + known["report"] * config.report
    return Forecast(
        timed.step_s,
        timed.validation_s,
        epoch_s,
        train_s,
        end_s,
        timed.needs,
        int(peak),
        timed.at_once,
    )


@dataclass(frozen=True)
class _Timed:
    known: Mapping[str, Any]
    step_s: float
    steps: int
    validation_s: float
    ask_s: float
    needs: int
    before: int
    at_once: int

    @property
    def epoch_s(self) -> float:
        return self.step_s * self.steps + self.validation_s


def _time(
    job: Job, step: SupervisedStep, answered: Answered | None, tuning: Tuning, anew: bool
) -> _Timed:
    config, known, val = job.config, last_time(job), job.plain["val"]
    if anew:
        known = {name: known[name] for name in ("bundle", "report", "peak_bytes")}
    steps = len(job.learning.plan(1))
    probed = tuning.timings[0] if tuning.timings and not anew else None
    cheap = config.augment == "none"  # to load a batch, which a probe does not see
    enough = probed is not None and (probed.times >= TRUSTED or only_features(config) or cheap)
    step_s = probed.step_s if probed is not None and enough else 0.0
    needs, at_once, before = 0, config.batch_size, process_bytes()
    if not only_features(config):
        if not step_s and "epoch_s" not in known:
            faults = faults_where(str(tuning.record.get("memory")))
            step_s = _time_steps(job, step, answered, steps * config.epochs, faults)
        batch = next(iter(job.plain["train"].once())).to(job.plan.device)
        batch = answered(batch) if answered else batch
        needs = _needs(step, batch)
        at_once = max(len(each) for each in step.micro.parts(batch))
    step.evaluate_mode()
    if step_s and only_features(config):  # what was timed is the backbone, with a batch
        together = min(AT_ONCE, config.batch_size, job.learning.size)
        validation_s = step_s / together * val.size
    elif "evaluate" in known and "epoch_s" in known and not config.freeze:
        validation_s = 0.0
    else:
        validation_s = _time_validation(job, step, answered)
    if "epoch_s" in known and not step_s:
        step_s = max(0.0, float(known["epoch_s"]) - validation_s) / max(1, steps)
    ask_s = validation_s / max(1, val.size)
    if answered:  # what was judged so far is the end of the model
        ask_s = _time_model(job)
    return _Timed(known, step_s, steps, validation_s, ask_s, needs, before, at_once)


def _features_s(job: Job, timed: _Timed) -> float:
    """Seconds in which a frozen backbone is asked, by a validation: about what is not kept yet, or
    in every epoch about everything where nothing is kept.
    """
    left = 0
    for number, stage in enumerate(job_stages(replace(job, progress=Silent()), StopRequest())):
        train = stage.train.features if isinstance(stage.train, AllAtOnce) else stage.train
        for loader in (train, stage.val):
            if isinstance(loader, FeatureLoader):
                left += loader.left_to_ask
            elif number == 0:
                left += loader.size * stage.epochs
    return timed.ask_s * left


def _time_steps(
    job: Job,
    step: SupervisedStep,
    answered: Answered | None,
    steps: int,
    faults: Callable[[], int],
) -> float:
    """Seconds of a step of the loop, its loader included, which may prepare the next batch
    meanwhile; what is stored costs nothing to load.
    """
    times: list[float] = []
    settled: list[float] = []
    begin, pages = time.perf_counter(), faults()
    while True:
        for batch in job.learning.epoch(1):
            there = batch.to(job.plan.device)
            if answered:
                there, begin, pages = answered(there), time.perf_counter(), faults()
            moment = Moment(1, 1, 1, 0.0, len(there), 0)
            value = step.learn(there, moment, lambda optimizer, loss: None)["loss"]
            float(value.mean())  # waits for the device
            now, found = time.perf_counter(), faults()
            times.append(now - begin)
            if len(times) > 1 and not awaits_memory(times[-1], found - pages):
                settled.append(times[-1])
            begin, pages = now, found
            limit = min(LIMIT_S, LIMIT_FRAC * steps * min(times))
            tried = len(times) > 1 and (bool(settled) or len(times) >= UNSETTLED)
            if len(times) > STEPS or (tried and sum(times) > limit):
                # The first one prepares what the others find.
                return median(settled or times[1:])


def _needs(step: SupervisedStep, batch: Batch) -> int:
    """Bytes of a step beyond what the process holds."""
    if batch.inputs.device.type == "cuda":
        return torch.cuda.max_memory_allocated(batch.inputs.device)
    if batch.inputs.device.type != "cpu":
        return 0
    estimate = step_memory(step.module, step.learning, losses_of(step), batch)
    return estimate.of(max(len(each) for each in step.micro.parts(batch)))


def _time_model(job: Job) -> float:
    """Seconds of one picture that the whole model is asked about, by the first batch."""
    batch = next(iter(job.plain["val"].once())).to(job.plan.device)
    channels_last = job.config.layout != "contiguous"
    with frozen(job.model, job.plan.device, channels_last=channels_last):
        inputs = laid(batch.inputs, channels_last=channels_last)
        job.model(inputs)  # prepares what the next one finds
        begin = time.perf_counter()
        job.model(inputs)
        return (time.perf_counter() - begin) / len(batch)


@torch.no_grad()
def _time_validation(job: Job, step: SupervisedStep, answered: Answered | None) -> float:
    """Seconds of a validation by its first batches."""
    loader = job.plain["val"]
    meter, asked, begin = step.meter([]), 0, time.perf_counter()
    for batch in loader.epoch(1):
        there = batch.to(job.plan.device)
        if answered:
            there = answered(there)
            if asked:
                break
        if not asked:  # the first one prepares what the others find
            step.evaluate(there, step.meter([]))
            begin = time.perf_counter()
        step.evaluate(there, meter)
        asked += len(batch)
        if time.perf_counter() - begin > LIMIT_S / 6:
            break
    return (time.perf_counter() - begin) / max(1, asked) * loader.size
