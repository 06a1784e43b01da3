"""The metrics of somebody's own on the best weights, for the report."""

from __future__ import annotations

import torch

from opsin.api.running.job import Job
from opsin.core.report import Report, Value
from opsin.tasks.own_metrics import OwnMeter


@torch.inference_mode()
def measure_own(report: Report, job: Job) -> None:
    """Add each metric that the task was given, on every split but the training set, with the count
    of its samples. Without such metrics the model is not asked.
    """
    if not job.task.metrics:
        return
    job.model.eval()
    for split, loader in job.plain.items():
        if split == "train":
            continue
        meter = OwnMeter(job.task.metrics)
        for batch in loader.epoch(0):
            moved = batch.to(job.plan.device)
            meter.update(job.model(moved.inputs), moved)
        for name, value in meter.compute(lambda rows: rows).items():
            report.add(split, "all", name, Value(value, loader.size))
