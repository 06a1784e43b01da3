"""Whether a run's steps are launched as CUDA graphs: as asked, or as tried."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from opsin.api.running.job import Job
from opsin.api.running.timings import trial_step
from opsin.training.determinism import make_deterministic
from opsin.training.graphs import GraphedForward, can_record, compare


def choose_graphs(job: Job) -> dict[str, Any]:
    """For `env.json`: `used`, `why`, and where it was tried what came of it. Layout and precision
    of `job` are settled. Never an error: what cannot be tried is not used.
    """
    asked = job.plan.config.graphs
    why = "as asked" if asked == "off" else _why_never(job)
    if not why and asked == "auto":
        why = _why_not_tried(job)
    if why:
        return {"used": False, "why": why}
    if asked == "on":
        return {"used": True, "why": "as asked"}
    said: list[str] = []
    try:
        return _tried(job, said)
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        return {"used": False, "why": f"{said[0] if said else 'a trial failed'}: {lines[0][:200]}"}


def _why_never(job: Job) -> str:
    config = job.config
    if not can_record(job.plan.device):
        return f"{job.plan.device.type} has none"
    if job.processes.size > 1:
        return "several processes share each step"
    if config.precision == "float16":
        return "float16 scales its gradients"
    if config.accumulate > 1:
        return "a batch goes through in parts"
    if config.freeze:
        return "a part of the model is frozen"
    return "" if job.learning.size >= config.batch_size else "no batch is full"


def _why_not_tried(job: Job) -> str:
    if not job.config.tune:
        return "nothing is tried (--no-tune)"
    own = job.plan.own.model is not None or job.plan.own.loss is not None
    # What a module does that hangs on its inputs would be recorded as it was done once.
    return "a module or a loss of somebody's own is tried only when asked" if own else ""


def _tried(job: Job, said: list[str]) -> dict[str, Any]:
    device = job.plan.device
    alone = replace(job, config=job.config.model_copy(update={"workers": 0}))
    batch = next(iter(alone.learning.epoch(1))).to(device)
    if len(batch) != job.config.batch_size:  # one more has joined it, and there is no other
        return {"used": False, "why": "no batch is full"}
    graphs = GraphedForward(tuple(batch.inputs.shape), say=said.append)
    with make_deterministic(device), trial_step(job) as (step, _):
        graphs.record(step.module, step.precision, device)
        if not graphs.recorded:
            return {"used": False, "why": said[0]}
        try:
            found = compare(step, graphs, batch, device)
        finally:
            graphs.drop()
    return {
        "used": not found.why_not,
        "why": found.why_not or "faster in a trial",
        "step_s": found.graphs_s,
        "eager_step_s": found.eager_s,
        "loss_gap": found.loss_gap,
        "gradient_gap": found.gradient_gap,
    }
