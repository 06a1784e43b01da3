"""The job that `opsin train` would run, without a run folder: for finders and dry runs."""

from __future__ import annotations

from collections.abc import Sequence

from opsin.api.running.fit import job_stages, monitors
from opsin.api.running.job import Job, make_task
from opsin.api.running.preparation import prepare
from opsin.core.config import TrainConfig
from opsin.core.progress import Progress
from opsin.core.run_dir import RunDir, run_name
from opsin.data.intake import draw_split
from opsin.training.interrupt import StopRequest
from opsin.training.stage import Stage


def trial_job(config: TrainConfig, progress: Progress) -> Job:
    """Data, split, task and model as training has them; `job.run` names a folder that is not made.

    Raises what `opsin.train` raises before its first step.
    """
    plan = prepare(config)
    intake, store = plan.take_in(progress)
    split = draw_split(intake, config)
    task, balance = make_task(config, intake, split)
    monitors(config, task)
    model = plan.model(task.num_outputs)
    # Worker processes take seconds to start, which a trial of some steps does not win back.
    config = plan.resolved().model_copy(update={"workers": 0})
    run = RunDir(config.project / run_name(config))
    return Job(run, config, plan, intake, store, split, task, balance, model, progress)


def trial_stages(job: Job) -> Sequence[Stage]:
    """The stages that training would go through, each by steps: a trial of a step needs one, and
    nothing is computed for it that a trial does not use.

    Raises `WrongUsage` where training would.
    """
    return job_stages(job, StopRequest(), by_steps=True)
