"""The trainer of a job: its stages, monitors, callbacks and checkpoints, from the settings."""

from __future__ import annotations

from opsin.api.job import Job
from opsin.api.run_callbacks import run_callbacks
from opsin.core.config import TrainConfig, learning_settings
from opsin.core.registry import unknown
from opsin.tasks.task import Task
from opsin.training.checkpoint import CheckpointStore, Saved
from opsin.training.history import History
from opsin.training.interrupt import StopRequest
from opsin.training.loop import Trainer
from opsin.training.monitor import Monitor
from opsin.training.saving import Saving
from opsin.training.stages import make_stages


def fit(job: Job, stop: StopRequest, resume_from: Saved | None) -> History:
    """Train what is not trained yet; the weights that the run ends with are in `job.model`."""
    return make_trainer(job, stop).fit(resume_from)


def make_trainer(job: Job, stop: StopRequest) -> Trainer:
    """Everything that the settings say about training, put together."""
    config = job.config

    def on_features(done: int, total: int) -> None:
        job.progress.step("features", done, total)
        stop.check("while features were computed")

    watched = monitors(config, job.task)
    job.run.checkpoints.mkdir(exist_ok=True)
    stages = make_stages(
        config,
        job.model,
        job.task,
        job.learning,
        job.plain["val"],
        device=job.plan.device,
        on_batch=on_features,
        say=job.progress.line,
    )
    return Trainer(
        job.model,
        stages,
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
