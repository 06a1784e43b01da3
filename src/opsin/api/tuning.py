"""Threads, layout, precision and allocator of a run: as asked, as remembered, or as timed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from opsin.api.job import Job
from opsin.core.allocator import held_memory
from opsin.core.batch import Batch
from opsin.core.config import Layout, TrainConfig, write_config
from opsin.core.device import has_bfloat16
from opsin.core.files import read_json, write_json
from opsin.core.machine_record import recall, remember
from opsin.training.checkpoint import Saved
from opsin.training.norms import norms
from opsin.training.precision import Precision
from opsin.training.probe import Choice, Timing, apply, has_layouts, lay_out, probe, timing_from
from opsin.training.processes import ALONE
from opsin.training.stages import make_step
from opsin.training.step import Moment
from opsin.training.supervised import SupervisedStep
from opsin.training.untouched import same_buffers_and_draws, untouched

LIMIT_S = 2.0
LIMIT_FRAC = 0.05
"""A probe takes at most so long, and at most this share of the steps that it is made for."""
LONGER = 4
"""A run of so many times the steps may probe again what a shorter one had no time for."""


@dataclass(frozen=True)
class Tuning:
    """`job` with its settings settled; `line` of the plan; `record` for `env.json`; `timings`: the
    chosen settings first, empty where nothing was timed.
    """

    job: Job
    line: str
    record: dict[str, Any]
    timings: tuple[Timing, ...] = ()


@contextmanager
def tuned(job: Job, resume_from: Saved | None = None, *, write: bool = True) -> Iterator[Tuning]:
    """The settings of a run while it lasts: settled, applied, and with `write` written to its
    `config.yaml` and `env.json`. A resumed run has those of its checkpoint, and nothing is timed.
    """
    before = torch.get_num_threads()
    with held_memory() if job.config.tune else nullcontext("memory as usual") as held:
        try:
            if resume_from is not None:
                yield _pinned(job, resume_from, held)
            else:
                tuning = _settled(job, held)
                if write and job.processes.rank == 0:
                    _write(tuning)
                yield tuning
        finally:
            torch.set_num_threads(before)


def plain_layout(job: Job) -> None:
    """Lay the weights as everybody else expects them, once nothing is learnt any more."""
    lay_out(job.model, "contiguous")


def _pinned(job: Job, saved: Saved, held: str) -> Tuning:
    if saved.state["processes"] == job.processes.size:
        torch.set_num_threads(saved.state["threads"])
    layout = "channels_last" if saved.state["channels_last"] else "contiguous"
    threads = torch.get_num_threads()
    line = f"{_threads(threads)}, {layout}, {held}: as the run was begun"
    return Tuning(job, line, {})


def _settled(job: Job, held: str) -> Tuning:
    asked, alone = job.plan.config, job.processes.size == 1
    ours = job.plan.own.model is None and job.plan.own.loss is None
    cpu = job.plan.device.type == "cpu"
    layouts = has_layouts(job.model)
    free: Layout = "channels_last" if job.config.tune and ours and alone else "contiguous"
    default = Choice(
        torch.get_num_threads(),
        (free if layouts else "contiguous") if asked.layout == "auto" else asked.layout,
        "float32" if asked.precision == "auto" else asked.precision,
    )
    if asked.precision == "auto" and job.plan.device.type == "cuda":
        default = replace(default, precision="bfloat16" if _cuda_bfloat16() else "float32")
    timings: tuple[Timing, ...] = ()
    source = "the default"
    if cpu and job.config.tune and alone and ours:
        timings, source = _timings(job, default, layouts=layouts, held=held)
        if len(timings) < 2:  # no time was left to try another
            source = "the default"
    chosen = timings[0].choice if timings else default
    apply(chosen, job.model)
    config = job.config.model_copy(
        update={
            "threads": chosen.threads,
            "layout": chosen.layout,
            "precision": chosen.precision,
        }
    )
    record = {
        "threads": chosen.threads,
        "memory_format": chosen.layout,
        "precision": chosen.precision,
        "memory": held,
        "chosen_by": source,
        "probe": [each.to_dict() for each in timings],
    }
    return Tuning(_with(job, config), _line(chosen, timings, held, job), record, timings)


def _with(job: Job, config: TrainConfig) -> Job:
    return replace(job, config=config)


def _timings(
    job: Job, default: Choice, *, layouts: bool, held: str
) -> tuple[tuple[Timing, ...], str]:
    """Remembered, or timed now; none where a step cannot be tried: training will say why."""
    asked = job.plan.config
    steps = _steps(job)
    key = {
        "model": asked.model,
        "input_px": list(job.plan.design.spec.size_px),
        "batch_size": asked.batch_size,
        "work": "features" if _only_features(asked) else "step",
        "optimizer": asked.optimizer,
        "augment": str(asked.augment),
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
        cut = LIMIT_FRAC * step_s * steps < LIMIT_S
        return min(LIMIT_S, LIMIT_FRAC * step_s * steps)

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
                if layouts and asked.layout == "auto" and not _only_features(asked)
                else (),
                precisions=["float32", "bfloat16"]
                if asked.precision == "auto" and has_bfloat16()
                else (),
                threads=fewer if asked.threads is None and cores > 1 else (),
            )
    except Exception:
        return (), "the default"
    if asked.cache:
        value = {"steps": steps, "whole": not cut, "timings": [each.to_dict() for each in found]}
        remember("settings", key, value)
    return tuple(found), "a probe"


@contextmanager
def _runner(job: Job) -> Iterator[Any]:
    """A function that runs one step, or asks the frozen backbone, with the settings it is given;
    the model stays as it is.
    """
    config, device = job.config.model_copy(update={"workers": 0}), job.plan.device
    batch = next(iter(_with(job, config).learning.epoch(1))).to(device)
    if _only_features(config):
        with _features_runner(job, batch) as run:
            yield run
        return
    with trial_step(job) as step:

        def learn(choice: Choice) -> None:
            apply(choice, job.model)
            step.precision = Precision(choice.precision, device)
            moment = Moment(1, 1, 1, 0.0, len(batch), 0)
            step.learn(batch, moment, lambda optimizer, loss: None)

        yield learn


@contextmanager
def trial_step(job: Job) -> Iterator[SupervisedStep]:
    """The step of the longest stage of `job`, ready to learn; afterwards the model is as it was."""
    config, model, device = job.config, job.model, job.plan.device
    wanted = [(each, each.requires_grad) for each in model.parameters()]
    learning = [each for each, learns in wanted if learns]
    frozen = norms(model) if config.fine_tune else ()
    step = make_step(config, model, job.task, learning, device=device, frozen=frozen)
    model.to(device)
    try:
        with untouched(step):
            step.begin(device, ALONE)
            step.learn_mode()
            yield step
    finally:
        for parameter, learns in wanted:
            parameter.requires_grad_(learns)


@contextmanager
def _features_runner(job: Job, batch: Batch) -> Iterator[Any]:
    backbone, device = job.model.backbone, job.plan.device
    mode = backbone.training
    backbone.to(device).eval()

    @torch.no_grad()
    def ask(choice: Choice) -> None:
        apply(choice, backbone)
        with Precision(choice.precision, device).autocast():
            backbone(batch.inputs)

    try:
        with same_buffers_and_draws(backbone):
            yield ask
    finally:
        backbone.train(mode)


def _only_features(config: TrainConfig) -> bool:
    return config.freeze and not config.fine_tune


def _steps(job: Job) -> int:
    batches = len(job.learning.plan(1))
    if _only_features(job.config):
        return batches + len(job.plain["val"].plan(1))
    return batches * job.config.epochs


def _cuda_bfloat16() -> bool:
    return bool(torch.cuda.is_bf16_supported())


def _threads(count: int) -> str:
    return f"{count} thread" + "s" * (count != 1)


def _line(chosen: Choice, timings: tuple[Timing, ...], held: str, job: Job) -> str:
    words = [_threads(chosen.threads), chosen.layout]
    if chosen.precision != "float32":
        words.append(chosen.precision)
    text = ", ".join([*words, held])
    if not timings:
        return text
    what = "a batch of features" if _only_features(job.config) else "a step"
    text += f": {timings[0].step_s * 1e3:.3g} ms {what}"
    slowest = max((each.step_s for each in timings[1:] if each.times > 1), default=0.0)
    return text + (f" beside {slowest * 1e3:.3g}" if slowest else "")


def _write(tuning: Tuning) -> None:
    run = tuning.job.run
    write_config(run.config, tuning.job.config)
    try:
        environment = read_json(run.environment)
    except (OSError, ValueError):
        return
    if isinstance(environment, dict):
        write_json(run.environment, environment | {"cpu": tuning.record})
