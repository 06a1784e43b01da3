"""The trainer of a job: its stages, monitors, callbacks and checkpoints, from the settings."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace

from torch import nn

from opsin.api.running.callbacks import run_callbacks
from opsin.api.running.job import Job
from opsin.core.config import TrainConfig, learning_settings
from opsin.core.device import memory
from opsin.core.progress import Silent
from opsin.core.registry import unknown
from opsin.data.loader import Loader
from opsin.evaluation.collect import Judged
from opsin.features.extract import FeatureLoader
from opsin.tasks.task import Task
from opsin.training.answers import MEMORY_FRAC, asking
from opsin.training.checkpoint import CheckpointStore, Saved
from opsin.training.history import History
from opsin.training.interrupt import StopRequest
from opsin.training.loop import Trainer
from opsin.training.monitor import Monitor
from opsin.training.saving import Saving
from opsin.training.stage import Stage
from opsin.training.stages import make_stages
from opsin.training.surroundings import Surroundings


def fit(job: Job, stop: StopRequest, resume_from: Saved | None) -> History:
    """Train what is not trained yet; the weights that the run ends with are in `job.model`."""
    return make_trainer(job, stop).fit(resume_from)


def make_trainer(job: Job, stop: StopRequest) -> Trainer:
    """Everything that the settings say about training, put together."""
    config = job.config
    watched = monitors(config, job.task)
    job.run.checkpoints.mkdir(exist_ok=True)
    return Trainer(
        job.model,
        job_stages(job, stop),
        checkpoints=CheckpointStore(job.run.checkpoints),
        device=job.plan.device,
        seed=config.seed,
        monitors=watched,
        callbacks=run_callbacks(job, watched[0], job.plan.own.callbacks),
        saving=Saving(
            steps=config.checkpoint_steps,
            seconds=config.checkpoint_seconds,
            disk_wait=config.disk_wait,
            say=job.progress.line,
        ),
        stop=stop,
        processes=job.processes,
        restore_best=config.restore_best,
        settings=learning_settings(config) | job.data_identity,
    )


def job_stages(job: Job, stop: StopRequest, *, by_steps: bool = False) -> list[Stage]:
    """The stages of a job; `by_steps` as in `Surroundings`. Raises `WrongUsage`."""
    around = replace(_surroundings(job, stop), by_steps=by_steps)
    return make_stages(job.config, job.model, job.task, job.learning, job.plain["val"], around)


def refuse_stages(job: Job) -> None:
    """Raise `WrongUsage` for stages that cannot be, before a run folder is made for them."""
    config = job.config
    if config.unfreeze is None and config.head != "solved":
        return
    if config.precision == "auto":
        config = config.model_copy(update={"precision": "float32"})
    job_stages(replace(job, config=config, progress=Silent()), StopRequest())


def judged(job: Job, stop: StopRequest) -> tuple[nn.Module, Mapping[str, Judged]]:
    """A module and a loader for each split whose outputs are those of `job.model` for its pictures:
    the head and the stored features where the backbone was frozen all along, so that it is not
    asked again.
    """
    config = job.config
    if not config.freeze or config.fine_tune:
        return job.model, job.plain
    pictures, limit = sum(each.size for each in job.plain.values()), memory()[0]
    if limit and pictures * job.model.head.in_features * 4 > MEMORY_FRAC * limit:
        return job.model, job.plain
    around = _surroundings(job, stop)
    asked = replace(asking(config, around), precision="float32", autocast=nullcontext)
    return job.model.head, {
        name: FeatureLoader(
            job.model.backbone,
            loader,
            job.task.collate,
            asked,
            contents=around.contents(loader),
            name=config.model,
        )
        for name, loader in job.plain.items()
    }


def _surroundings(job: Job, stop: StopRequest) -> Surroundings:
    def on_features(done: int, total: int) -> None:
        job.progress.step("features", done, total)
        stop.check("while features were computed")

    def on_solve(done: int, total: int) -> None:
        job.progress.step("solving the head", done, total)
        stop.check("while the head was solved")

    def contents(loader: Loader) -> list[str]:
        return [job.intake.records.sha256[row] for row in loader.dataset.rows.tolist()]

    return Surroundings(
        job.plan.device,
        contents,
        # A job on somebody's own loaders has none, and no frozen backbone.
        class_weights=job.balance.weights if job.config.freeze else None,
        processes=job.processes.size,
        on_features=on_features,
        on_solve=on_solve,
        say=job.progress.line,
    )


def monitors(config: TrainConfig, task: Task) -> list[Monitor]:
    """What decides the best epoch, then the others whose best is kept. Raises `WrongUsage`."""
    allowed = ["train_loss", *(f"val_{name}" for name in task.metric_names())]
    names = [config.monitor, *config.keep_best]
    for name in names:
        if name not in allowed:
            raise unknown("metric", name, allowed)
    return [
        Monitor(name, higher=task.larger_is_better(name.partition("_")[2]))
        for name in dict.fromkeys(names)
    ]
