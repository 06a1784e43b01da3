"""What hangs on the loop of a run, from its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from opsin.api.running.job import Job
from opsin.data.transform import Normalise
from opsin.training.callback import Callback
from opsin.training.callbacks.averaging import Averaging
from opsin.training.callbacks.early_stopping import EarlyStopping
from opsin.training.callbacks.epoch_lines import EpochLines
from opsin.training.callbacks.gradient_log import GradientLog
from opsin.training.callbacks.history_file import HistoryFile
from opsin.training.callbacks.nan_guard import NanGuard
from opsin.training.callbacks.picture_samples import Pictures, PictureSamples, unnormalised
from opsin.training.callbacks.plateau import Plateau
from opsin.training.callbacks.position_file import PositionFile
from opsin.training.callbacks.rate_log import RateLog
from opsin.training.callbacks.time_budget import TimeBudget
from opsin.training.monitor import Monitor
from opsin.training.precision import Precision


def learning_callbacks(job: Job, monitor: Monitor) -> list[Callback]:
    """Those that decide what is learnt: every process has them."""
    config, say = job.config, job.progress.line
    precision = Precision(config.precision, job.plan.device)
    found: list[Callback] = [
        NanGuard(
            job.run.path,
            rank=job.processes.rank,
            scaled=config.precision == "float16",
            autocast=precision.autocast,
        )
    ]
    if config.ema:
        found.append(Averaging(config.ema, at_end=not config.restore_best))
    wanted = replace(monitor, min_delta=config.min_delta)
    if config.schedule == "plateau":
        found.append(Plateau(wanted))
    if config.patience:
        found.append(EarlyStopping(config.patience, wanted, baseline=config.baseline))
    if config.max_time:
        found.append(
            TimeBudget(config.max_time, say, epoch_s=job.epoch_s, validation_s=job.validation_s)
        )
    return found


def writing_callbacks(job: Job) -> list[Callback]:
    """Those that tell people and write files: the first process has them."""
    config, run, say = job.config, job.run, job.progress.line
    found: list[Callback] = [
        PositionFile(run.position),
        HistoryFile(run.history, say),
        EpochLines(job.progress),
    ]
    if config.log_rates:
        found.append(RateLog(run.path / "rates.csv", say))
    if config.log_gradients:
        found.append(GradientLog(run.path / "gradients.csv", say))
    if config.samples:
        found.append(
            PictureSamples(
                run.path / "samples",
                partial(sample_pictures, job),
                job.split.classes,
                count=config.samples,
                answer=job.task.answer,
                say=say,
            )
        )
    return found


def run_callbacks(job: Job, monitor: Monitor, own: Sequence[Callback] = ()) -> list[Callback]:
    """All of them, and the person's `own`."""
    first = job.processes.rank == 0
    return [*learning_callbacks(job, monitor), *own, *(writing_callbacks(job) if first else [])]


def sample_pictures(job: Job) -> Pictures:
    """Some validation pictures, spread over the split, since its first ones may be of one class."""
    data, spec = job.plain["val"].dataset, job.plan.design.spec
    count = min(job.config.samples, len(data))
    rows = [number * len(data) // count for number in range(count)]
    inputs = Normalise(spec)(torch.from_numpy(np.stack([data[0, row].image for row in rows])))
    return inputs, [data.targets[row] for row in rows], unnormalised(inputs, spec)
