"""`opsin train --dry-run`: everything but the training, and nothing is left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsin.core.allocator import prepare_environment
from opsin.core.config import TrainConfig
from opsin.core.device import memory
from opsin.core.extras import expect
from opsin.core.files import check_writable
from opsin.core.progress import Progress, choose_progress
from opsin.core.words import duration, size

if TYPE_CHECKING:
    from opsin.api.running.job import Job


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
    expect("torch", purpose="opsin train --dry-run")
    from opsin.api.train import resolve

    resolved = resolve({"data": data} | settings, config)
    if resolved.tune:
        prepare_environment()
    progress = progress or choose_progress()
    try:
        return _dry_run(resolved, progress)
    finally:
        progress.close()


def _dry_run(config: TrainConfig, progress: Progress) -> DryRun:
    from opsin.api.running.forecast import measured
    from opsin.api.running.job import place_pictures
    from opsin.api.running.plan_lines import plan_lines
    from opsin.api.running.trial import trial_job
    from opsin.api.running.tuning import tuned

    check_writable(_nearest(config.project.absolute()))
    job = trial_job(config, progress)
    progress.step("trying a step", 0, 1)
    with tuned(place_pictures(job), write=False) as tuning:
        found = measured(tuning, anew=True)
        plan = plan_lines(tuning.job, [f"tuned  {tuning.line}"])
        settled = tuning.job.config
    progress.step("trying a step", 1, 1)
    return DryRun(
        settings=settled.model_copy(update={"workers": config.workers}).model_dump(mode="json"),
        plan=tuple(plan),
        step_bytes=found.step_bytes,
        free_bytes=_free(job),
        at_once=found.at_once,
        step_s=found.step_s,
        train_s=found.train_s,
    )


def _free(job: Job) -> int:
    """Bytes of memory for a step."""
    if job.plan.device.type != "cuda":
        return memory()[1]
    import torch

    return int(torch.cuda.mem_get_info(job.plan.device)[0])


def _nearest(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that is there: the one that would be written to."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
