"""A training on DataLoaders: the loop, the checkpoints and the numbers, and nothing of pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from opsin.api.own.checks import refuse_other_module
from opsin.api.own.loaders import describe, identity, own_loaders, own_task, refuse_settings
from opsin.api.own.parts import Own
from opsin.api.own.record import LOADERS, go_on, own_record, refuse_other_parts
from opsin.api.run_result import RunResult
from opsin.api.running.continuation import longer, where_it_was
from opsin.api.running.explained import explained
from opsin.api.running.fit import make_trainer, monitors
from opsin.api.running.job import Job
from opsin.api.running.preparation import environment
from opsin.core.allocator import held_memory
from opsin.core.config import TrainConfig, differing, learning_settings
from opsin.core.config_file import read_config, write_config
from opsin.core.device import pick_device
from opsin.core.errors import ModelRefused, WrongUsage
from opsin.core.files import check_writable, write_json
from opsin.core.progress import Progress
from opsin.core.report import Report, Value
from opsin.core.run_dir import RunDir, create_run, point_latest
from opsin.core.version import version
from opsin.data.own_loader import OwnLoader
from opsin.models.classifier import count_parameters
from opsin.tasks.own import OwnTask
from opsin.training.checkpoint import CheckpointStore, Saved
from opsin.training.interrupt import StopRequest
from opsin.training.monitor import recorded
from opsin.training.processes import ALONE, Processes
from opsin.training.step import Step
from opsin.training.sums import Sums


@dataclass(frozen=True)
class LoaderPlan:
    """What `Preparation` is for a folder."""

    own: Own
    device: torch.device


@dataclass(frozen=True)
class LoaderJob:
    """What `Job` is for a folder: everything that `make_trainer` asks of one."""

    run: RunDir
    config: TrainConfig
    plan: LoaderPlan
    task: OwnTask
    model: torch.nn.Module
    learning: OwnLoader
    plain: dict[str, OwnLoader]
    progress: Progress
    processes: Processes = ALONE
    epoch_s: float | None = None
    validation_s: float = 0.0

    @property
    def data_identity(self) -> dict[str, Any]:
        """What of the data a resumed run must have in common with its beginning."""
        return identity({"train": self.learning, **self.plain})


def train_loaders(
    own: Own, data: Any, values: Mapping[str, Any], progress: Progress, follows: Path | None = None
) -> RunResult:
    """A new run on the loaders `data` with the settings `values`; `follows` as in `new_run`."""
    config, plan, loaders, task = _prepared(own, data, values, progress)
    check_writable(config.project)
    config = config.model_copy(
        update={
            "batch_size": loaders["train"].batch_size,
            "workers": loaders["train"].workers,
            "device": str(plan.device),
            "threads": torch.get_num_threads(),
            "project": config.project.absolute(),
        }
    )
    run = create_run(config.project, config.name or type(own.model).__name__)
    with run.locked():
        write_config(run.config, config)
        record = environment(config, plan.device) | own_record(own, LOADERS)
        record |= {"larger_is_better": recorded(monitors(config, task))}
        write_json(run.environment, record | ({"follows": str(follows)} if follows else {}))
        point_latest(run.path)
        return _run(_job(run, config, plan, loaders, task, progress), None)


def resume_loaders(
    run: RunDir, own: Own, data: Any, epochs: int | None, progress: Progress
) -> RunResult:
    """Go on with a run, which the caller has locked. Raises `WrongUsage` with the differences when
    the parts, the settings or the loaders are not those it was begun with.
    """
    refuse_other_parts(run, own, LOADERS)
    stored = read_config(run.config)
    values = {k: v for k, v in stored.items() if k not in ("data", "batch_size", "workers")}
    config, plan, loaders, task = _prepared(own, data, values, progress)
    config = config.model_copy(update={name: stored[name] for name in ("batch_size", "workers")})
    saved, notes = CheckpointStore(run.checkpoints).newest()
    for note in notes:
        progress.line(note)
    if saved is None and notes:
        raise ModelRefused(
            "no checkpoint of this run is whole",
            code="no_checkpoint",
            where=str(run.checkpoints),
            fix="begin a new run",
        )
    job = _job(run, config, plan, loaders, task, progress)
    if saved is not None:
        refuse_other_module(job.model, saved)
        _refuse_differences(job, saved)
    config, saved = longer(run, config, saved, epochs, progress.line)
    progress.line(where_it_was(run, saved))
    return _run(_job(run, config, plan, loaders, task, progress), saved)


def _prepared(
    own: Own, data: Any, values: Mapping[str, Any], progress: Progress
) -> tuple[TrainConfig, LoaderPlan, dict[str, OwnLoader], OwnTask]:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise WrongUsage(
            "DataLoaders are trained on by one process, and this is one of several",
            code="setting_not_for_own",
            where="data",
            fix="start it without torchrun",
        )
    config = own.settle({**values, "data": "DataLoaders"})
    refuse_settings(own, values, config)
    if config.threads:
        torch.set_num_threads(config.threads)
    loaders = own_loaders(data, seed=config.seed, say=progress.line)
    config = config.model_copy(update={"data": Path(describe(loaders))})
    task = own_task(own, config)
    monitors(config, task)
    return config, LoaderPlan(own, pick_device(config.device)), loaders, task


def _job(
    run: RunDir,
    config: TrainConfig,
    plan: LoaderPlan,
    loaders: dict[str, OwnLoader],
    task: OwnTask,
    progress: Progress,
) -> LoaderJob:
    plain = {name: each for name, each in loaders.items() if name != "train"}
    model = cast(torch.nn.Module, plan.own.model)
    return LoaderJob(run, config, plan, task, model, loaders["train"], plain, progress)


def _refuse_differences(job: LoaderJob, saved: Saved) -> None:
    before = saved.state["settings"]
    now = learning_settings(job.config) | job.data_identity | {"epochs": before.get("epochs")}
    found = differing(before, now)
    if found:
        raise WrongUsage(
            f"the run was trained with other settings or data: {'; '.join(found)}",
            code="settings_changed",
            where=str(job.run.path),
            fix="put them back, or begin a new run",
        )


def _run(job: LoaderJob, saved: Saved | None) -> RunResult:
    with held_memory() if job.config.tune else nullcontext():
        return _trained(job, saved)


def _trained(job: LoaderJob, saved: Saved | None) -> RunResult:
    if saved:
        torch.set_num_threads(saved.state["threads"])
    for line in _plan_lines(job):
        job.progress.line(line)
    call = go_on(job.run, job.plan.own, LOADERS)
    with (
        StopRequest(job.progress.line) as stop,
        explained(job.run, job.config, stop, call),
    ):
        trainer = make_trainer(cast(Job, job), stop)
        history = trainer.fit(saved)
        report = Report(settings={"data": LOADERS, "loss": job.config.loss})
        for name, loader in job.plain.items():
            measure(report, name, loader, trainer.stages[-1].step, job.plan.device)
            stop.check("while evaluating; training is done and saved")
        write_json(job.run.metrics, report.to_dict())
    best = history.best
    return RunResult(job.run.path, report, best.epoch if best else 0)


@torch.no_grad()
def measure(
    report: Report, split: str, loader: OwnLoader, step: Step, device: torch.device
) -> None:
    """Add the loss and all metrics over the samples of `loader`, each with their count."""
    step.evaluate_mode()
    meter, sums = step.meter([]), Sums()
    for batch in loader.epoch(0):
        sums.add(step.evaluate(batch.to(device), meter))
    values = sums.means("") | meter.compute(lambda rows: rows)
    for name, value in values.items():
        report.add(split, "all", name, Value(value, sums.count))


def _plan_lines(job: LoaderJob) -> list[str]:
    config, model = job.config, job.model
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    steps = len(job.learning.plan(1))
    monitor = monitors(config, job.task)[0]
    better = "larger" if monitor.higher_is_better else "smaller"
    return [
        f"opsin {version()}, device {job.plan.device}, {torch.get_num_threads()} threads",
        f"data   {config.data}",
        f"model  {config.model}: {count_parameters(model):,} parameters, {learning:,} trained; "
        f"loss {config.loss}",
        f"plan   {config.epochs} epochs of {steps} steps, {config.optimizer} at {config.lr:g}, "
        f"seed {config.seed}; the best epoch by {monitor.name}, {better} is better",
        "       without pictures no split, report or bundle is written",
        f"run    {job.run.path}",
    ]
