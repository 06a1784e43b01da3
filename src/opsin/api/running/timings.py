"""Which settings of the machine are fastest for a job: remembered from an earlier run, or timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from opsin.api.running.fit import job_stages
from opsin.api.running.job import Job
from opsin.core.allocator import HELD
from opsin.core.batch import Batch
from opsin.core.config import TrainConfig
from opsin.core.device import has_bfloat16, page_faults
from opsin.core.machine_record import recall, remember
from opsin.core.progress import Silent
from opsin.features.ask import AT_ONCE
from opsin.features.extract import FeatureLoader
from opsin.training.interrupt import StopRequest
from opsin.training.norms import norms
from opsin.training.precision import Precision
from opsin.training.probe import Choice, Timing, apply, probe, timing_from
from opsin.training.processes import ALONE
from opsin.training.stages import make_step
from opsin.training.step import Moment
from opsin.training.supervised import SupervisedStep
from opsin.training.untouched import same_buffers_and_draws, untouched

LIMIT_S, LIMIT_STEPS = 2.0, 8
LIMIT_FRAC = 0.05
"""A probe takes at most so long, or so many steps where they are slow, and at most this share of
the steps that it is made for; the default is always tried, and timed until it waits for no more
memory, three times at most."""
Answered = Callable[[Batch], Batch]
LONGER = 4
"""A run of so many times the steps may probe again what a shorter one had no time for."""


def timings(
    job: Job, default: Choice, *, layouts: bool, held: str
) -> tuple[tuple[Timing, ...], str]:
    """Remembered, or timed now, the fastest first, and how they came about; none where a step
    cannot be tried: training will say why.
    """
    asked = job.plan.config
    steps = _steps(job)
    key = {
        "model": asked.model,
        "input_px": list(job.plan.design.spec.size_px),
        "batch_size": asked.batch_size,
        "work": f"{AT_ONCE} features" if only_features(asked) else "step",
        "optimizer": asked.optimizer,
        "augment": str(asked.augment),
        "stage": [asked.freeze, asked.fine_tune, asked.unfreeze, asked.accumulate],
        "threads": default.threads,
        "asked": [asked.threads, asked.layout, asked.precision],
        "memory": held,
    }
    known = recall("settings", key) if asked.cache else None
    if known is not None and (known.get("whole") or steps <= LONGER * known.get("steps", 0)):
        try:
            return tuple(timing_from(each) for each in known["timings"]), "an earlier run here"
        except (KeyError, TypeError, ValueError):
            pass
    cut = False

    def limit(step_s: float) -> float:
        nonlocal cut
        most = max(LIMIT_S, LIMIT_STEPS * step_s)
        cut = LIMIT_FRAC * step_s * steps < most
        return min(most, LIMIT_FRAC * step_s * steps)

    cores = default.threads
    fewer = [1] if cores <= 4 else [1, cores // 2]
    try:
        with _runner(job) as run:
            found = probe(
                default,
                run,
                limit=limit,
                # Features are kept by their layout: a probe that changed its mind would lose them.
                layouts=["contiguous", "channels_last"]
                if layouts and asked.layout == "auto" and not only_features(asked)
                else (),
                precisions=["float32", "bfloat16"]
                if asked.precision == "auto" and has_bfloat16()
                else (),
                threads=fewer if asked.threads is None and cores > 1 else (),
                faults=faults_where(held),
            )
    except Exception:
        return (), "the default"
    if asked.cache:
        value = {"steps": steps, "whole": not cut, "timings": [each.to_dict() for each in found]}
        remember("settings", key, value)
    return tuple(found), "a probe"


def faults_where(held: str) -> Callable[[], int]:
    """What counts the pages that a process is given: nothing, where it gives them back in each
    step anyway.
    """
    return page_faults if held == HELD else lambda: 0


@contextmanager
def _runner(job: Job) -> Iterator[Any]:
    """A function that runs one step, or asks the frozen backbone, with the settings it is given;
    the model stays as it is.
    """
    config, device = job.config.model_copy(update={"workers": 0}), job.plan.device
    batch = next(iter(replace(job, config=config).learning.epoch(1))).to(device)
    if only_features(config):
        with _features_runner(job, batch) as run:
            yield run
        return
    with trial_step(job) as (step, answered):
        if answered:
            batch = answered(batch)

        def learn(choice: Choice) -> None:
            apply(choice, job.model)
            step.precision = Precision(choice.precision, device)
            moment = Moment(1, 1, 1, 0.0, len(batch), 0)
            step.learn(batch, moment, lambda optimizer, loss: None)

        yield learn


@contextmanager
def trial_step(job: Job) -> Iterator[tuple[SupervisedStep, Answered | None]]:
    """The step of the longest stage of `job`, ready to learn, and where that learns from stored
    activations what makes them of a batch of pictures; afterwards the model is as it was.
    """
    model, device = job.model, job.plan.device
    wanted = [(each, each.requires_grad) for each in model.parameters()]
    model.to(device)
    step, answered = _longest(job)
    try:
        with untouched(step):
            step.begin(device, ALONE)
            step.learn_mode()
            yield step, answered
    finally:
        for parameter, learns in wanted:
            parameter.requires_grad_(learns)


def _longest(job: Job) -> tuple[SupervisedStep, Answered | None]:
    config, model = job.config, job.model
    if config.unfreeze is not None:
        last = job_stages(replace(job, progress=Silent()), StopRequest())[-1]
        if isinstance(last.train, FeatureLoader) and isinstance(last.step, SupervisedStep):
            return last.step, last.train.answered
    learning = [each for each in model.parameters() if each.requires_grad]
    frozen = norms(model) if config.fine_tune else ()
    device = job.plan.device
    return make_step(config, model, job.task, learning, device=device, frozen=frozen), None


@contextmanager
def _features_runner(job: Job, batch: Batch) -> Iterator[Any]:
    backbone, device = job.model.backbone, job.plan.device
    inputs = batch.inputs[:AT_ONCE]
    mode = backbone.training
    backbone.to(device).eval()

    @torch.no_grad()
    def ask(choice: Choice) -> None:
        apply(choice, backbone)
        with Precision(choice.precision, device).autocast():
            backbone(inputs)

    try:
        with same_buffers_and_draws(backbone):
            yield ask
    finally:
        backbone.train(mode)


def only_features(config: TrainConfig) -> bool:
    """Whether the backbone is only asked, and never learns."""
    return config.freeze and not config.fine_tune


def _steps(job: Job) -> int:
    batches = len(job.learning.plan(1))
    if only_features(job.config):
        return batches + len(job.plain["val"].plan(1))
    return batches * job.config.epochs
