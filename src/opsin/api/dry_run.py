"""`opsin train --dry-run`: everything but the training, and nothing is left behind."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsin.core.config import TrainConfig
from opsin.core.device import memory
from opsin.core.extras import require
from opsin.core.files import check_writable
from opsin.core.progress import Progress, choose_progress
from opsin.core.words import duration, size

if TYPE_CHECKING:
    from opsin.api.job import Job
    from opsin.core.batch import Batch
    from opsin.training.stage import Stage

STEPS = 3
"""The fastest of them is the estimate: what disturbs a machine only ever adds."""
PATIENCE_S = 10.0


@dataclass(frozen=True)
class DryRun:
    """`plan`: the lines that training begins with. `step_bytes`: memory of a step by estimate, 0
    where it is not estimated; `free_bytes`: what is available; `at_once`: samples that go through
    the model together, fewer than the batch where memory asks for it. `train_s`: of all epochs and
    their validations, without early stopping and the end of the run; from a few timed steps.
    """

    settings: dict[str, Any]
    plan: tuple[str, ...]
    step_bytes: int
    free_bytes: int
    at_once: int
    step_s: float
    train_s: float

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object: settings and estimate."""
        return {
            "settings": self.settings,
            "estimate": {
                "step_bytes": self.step_bytes,
                "free_bytes": self.free_bytes,
                "samples_at_once": self.at_once,
                "step_s": self.step_s,
                "train_s": self.train_s,
            },
            "plan": list(self.plan),
        }

    def lines(self) -> list[str]:
        """The plan, and what it will take."""
        needs = f"about {size(self.step_bytes)} for a step, " if self.step_bytes else ""
        cut = self.settings["batch_size"] > self.at_once
        parts = f"; steps are cut into parts of {self.at_once}" if cut else ""
        return [
            *self.plan,
            f"memory {needs}{size(self.free_bytes)} free{parts}",
            f"time   about {duration(self.train_s)} for all epochs "
            f"({self.step_s * 1e3:.0f} ms a step)",
            "a step and a validation batch went well; nothing was written",
        ]


def dry_run(
    data: str | Path | None = None,
    *,
    config: str | Path | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> DryRun:
    """Do what `opsin.train` does up to the first step: settings, scan, split, model; then run a few
    training steps and a validation batch of each stage, whose weights nobody keeps.

    Raises what `opsin.train` raises before and in its first step; `NoRoom` where the run folder
    could not be made.
    """
    require("torch", purpose="opsin train --dry-run")
    from opsin.api.train import resolve

    resolved = resolve({"data": data} | settings, config)
    progress = progress or choose_progress()
    try:
        return _dry_run(resolved, progress)
    finally:
        progress.close()


def _dry_run(config: TrainConfig, progress: Progress) -> DryRun:
    from opsin.api.plan_lines import plan_lines
    from opsin.api.trial import trial_job, trial_stages

    check_writable(_nearest(config.project.absolute()))
    job = trial_job(config, progress)
    progress.step("trying a step", 0, 1)
    tried = [_try_stage(job, stage) for stage in trial_stages(job)]
    progress.step("trying a step", 1, 1)
    largest = max(tried, key=lambda each: each.bytes)
    return DryRun(
        settings=job.config.model_copy(update={"workers": config.workers}).model_dump(mode="json"),
        plan=tuple(plan_lines(job)),
        step_bytes=largest.bytes,
        free_bytes=largest.free,
        at_once=min(each.at_once for each in tried),
        step_s=max(each.step_s for each in tried),
        train_s=sum(each.total_s for each in tried),
    )


@dataclass(frozen=True)
class _Tried:
    bytes: int
    free: int
    at_once: int
    step_s: float
    total_s: float


def _try_stage(job: Job, stage: Stage) -> _Tried:
    """Some timed steps, and a validation batch."""
    import torch

    from opsin.training.finders.batches import endless
    from opsin.training.memory import losses_of, step_memory
    from opsin.training.processes import ALONE
    from opsin.training.step import Moment
    from opsin.training.supervised import SupervisedStep
    from opsin.training.untouched import untouched

    device, step = job.plan.device, stage.step
    job.model.to(device)
    features = stage.train is not job.learning
    with untouched(step):
        step.begin(device, ALONE)
        step.learn_mode()
        batches = endless(job.learning)
        batch = next(batches).to(device)  # the first one waits for what later ones find ready
        begin = time.perf_counter()
        next(batches)
        loading = time.perf_counter() - begin
        before_s = 0.0
        if features:  # computing them all is the better part of such a run
            batch, asking = _features(job, batch)
            before_s = (loading + asking) * (stage.train.size + stage.val.size) / len(batch)
            loading = 0.0
        needs, free = 0, memory()[1]
        if isinstance(step, SupervisedStep) and device.type == "cpu":
            estimate = step_memory(step.module, step.learning, losses_of(step), batch)
        else:
            estimate = None
        times: list[float] = []
        while len(times) < STEPS and sum(times) < PATIENCE_S:
            begin = time.perf_counter()
            moment = Moment(1, len(times) + 1, STEPS, stage.lr, len(batch), 0)
            loss = step.learn(batch, moment, lambda optimizer, value: None)["loss"]
            float(loss.mean())  # waits for the device
            times.append(time.perf_counter() - begin)
        step_s = min(times)
        at_once = len(batch)
        if isinstance(step, SupervisedStep):
            at_once = max(len(each) for each in step.micro.parts(batch))
        if device.type == "cuda":
            free = torch.cuda.mem_get_info(device)[0]
            needs = torch.cuda.max_memory_allocated(device)
        elif estimate:
            needs = estimate.of(at_once)
        step.evaluate_mode()
        begin = time.perf_counter()
        with torch.no_grad():
            judged = batch if features else next(endless(stage.val)).to(device)
            step.evaluate(judged, step.meter([]))
        val_s = time.perf_counter() - begin
    if job.config.workers:
        loading /= job.config.workers
    epoch_s = (step_s + loading) * len(stage.train.plan(1)) + val_s * len(stage.val.plan(1))
    return _Tried(needs, free, at_once, step_s + loading, before_s + stage.epochs * epoch_s)


def _features(job: Job, batch: Batch) -> tuple[Batch, float]:
    """What the frozen backbone says of a batch, and the seconds it took."""
    from dataclasses import replace

    import torch

    backbone = job.model.backbone
    mode = backbone.training
    begin = time.perf_counter()
    with torch.no_grad():
        found = backbone.eval()(batch.inputs)
    seconds = time.perf_counter() - begin
    backbone.train(mode)
    return replace(batch, inputs=found), seconds


def _nearest(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that is there: the one that would be written to."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
