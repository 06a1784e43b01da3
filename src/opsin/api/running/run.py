"""What a new run and a resumed one have in common: train, evaluate, bundle, report."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from opsin.api.own.measure import measure_own
from opsin.api.own.record import go_on
from opsin.api.run_result import RunResult
from opsin.api.running.explained import explained
from opsin.api.running.fit import fit, judged
from opsin.api.running.forecast import forecast
from opsin.api.running.job import Job, place_pictures
from opsin.api.running.plan_lines import plan_lines
from opsin.api.running.spent import Spent
from opsin.api.running.tuning import Tuning, plain_layout, tuned
from opsin.core.allocator import trim
from opsin.core.errors import NumbersWrong, OpsinError
from opsin.core.files import sha256_file, write_json
from opsin.core.finding import worst_first
from opsin.core.report import Report
from opsin.data.intake import changed_since_scan
from opsin.data.manifest import contents, data_hash
from opsin.evaluation.classification import evaluate_classification
from opsin.evaluation.collect import collect
from opsin.evaluation.predictions import PredictionTable
from opsin.training.checkpoint import Saved
from opsin.training.interrupt import StopRequest


def run_training(job: Job, *, resume_from: Saved | None = None) -> RunResult:
    """Train what is not trained yet, then evaluate, bundle and report. The run is locked.

    Raises `Interrupted` after Ctrl-C or SIGTERM, with the command that goes on.
    """
    with tuned(place_pictures(job), resume_from) as tuning:
        return _run(tuning, resume_from)


def _run(tuning: Tuning, resume_from: Saved | None) -> RunResult:
    job, spent = tuning.job, Spent()
    expected = None if resume_from else forecast(tuning)
    if expected:
        job = replace(job, epoch_s=expected.epoch_s or None, validation_s=expected.validation_s)
    more = [f"tuned  {tuning.line}", *([f"time   {expected.sentence()}"] if expected else [])]
    for line in plan_lines(job, more):
        job.progress.line(line)
    again = go_on(job.run, job.plan.own)
    with (
        StopRequest(job.progress.line) as stop,
        explained(job.run, job.config, stop, again, job.processes),
    ):
        with spent.on("train"):
            history = fit(job, stop, resume_from)
        trim()
        job.processes.leave()
        if job.processes.rank:
            # Threads of torch may abort a process that takes itself down in order.
            sys.stderr.flush()
            os._exit(0)
        with spent.on("evaluate"):
            table, report = _evaluate(job, stop)
        stop.check("after evaluating")
        plain_layout(job)
        trim()
        with spent.on("bundle"):
            bundle = _bundle_where_possible(job) if job.config.bundle else None
        stop.check("before the report")
        with spent.on("report"):
            html = _report(job, table) if job.config.report else None
        if not resume_from:
            spent.keep(job, history)
    best = history.best
    return RunResult(job.run.path, report, best.epoch if best else 0, bundle, html)


def _evaluate(job: Job, stop: StopRequest) -> tuple[PredictionTable, Report]:
    def on_batch(done: int, total: int) -> None:
        job.progress.step("evaluating", done, total)
        stop.check("while evaluating; training is done and saved")

    module, loaders = judged(job, stop)
    table = collect(
        module,
        job.task,
        loaders,
        job.split.classes,
        device=job.plan.device,
        on_batch=on_batch,
        say=job.progress.line,
    )
    table.write(job.run.predictions)
    report = evaluate_classification(
        table,
        train_targets=job.plain["train"].dataset.targets,
        leaks=set(job.split.leaks),
        balance=job.balance.to_dict(),
    )
    measure_own(report, job)
    write_json(job.run.metrics, report.to_dict())
    changed = changed_since_scan(job.intake, job.split)
    if changed:
        job.progress.line(f"{changed.code}: {changed.message}")
        found = worst_first([*job.intake.findings, changed])
        write_json(job.run.findings, [finding.to_dict() for finding in found])
    return table, report


def _bundle_where_possible(job: Job) -> Path | None:
    """The bundle; of a module of somebody's own None, and why, where it cannot be a graph."""
    try:
        return _bundle(job)
    except Exception as error:
        ours = isinstance(error, OpsinError) and not isinstance(error, NumbersWrong)
        if job.plan.own.model is None or ours:
            raise
        why = next((line for line in str(error).splitlines() if line.strip()), "")
        job.progress.line(
            f"no bundle: {type(job.model).__name__} cannot be exported as an ONNX graph that gives "
            f"its numbers ({type(error).__name__}: {why[:200]}); the run is kept"
        )
        return None


def _bundle(job: Job) -> Path:
    target = job.run.bundle
    if target.exists():
        return target
    from opsin.exporting.parity import PARITY_PICTURES
    from opsin.exporting.to_bundle import export_bundle

    job.progress.line("bundle  exporting, and comparing the graph with the model")
    chosen = job.split.splits["val"][:PARITY_PICTURES]
    export_bundle(
        job.model.to("cpu"),
        job.task,
        job.plan.design,
        job.split.classes,
        target,
        pictures=list(zip(chosen, _prepared(job, chosen), strict=True)),
        data_hash=data_hash(contents(job.intake.index, job.intake.records)),
        split_hash=sha256_file(job.run.split),
        source=job.run.path.name,
    )
    return target


def _report(job: Job, table: PredictionTable) -> Path:
    from opsin.report.html import write_report

    job.progress.line("report  drawing")
    return write_report(
        job.run.path,
        data_root=job.intake.index.root,
        heatmaps=_heatmaps(job, table),
        spec=job.plan.design.spec,
    )


def _heatmaps(job: Job, table: PredictionTable) -> dict[str, NDArray[np.float32]]:
    """Grad-CAM of the predicted class of the pictures that the report shows as most wrong."""
    from opsin.core.errors import WrongUsage
    from opsin.data.transform import Normalise
    from opsin.explanation.gradcam import grad_cam, last_conv
    from opsin.report.worst import worst_pictures

    number = {name: index for index, name in enumerate(job.split.classes)}
    normalise = Normalise(job.plan.design.spec)
    model = job.model.to("cpu")
    maps: dict[str, NDArray[np.float32]] = {}
    worst = worst_pictures(table)
    for row, prepared in zip(worst, _prepared(job, [each.path for each in worst]), strict=True):
        image = np.ascontiguousarray(prepared.transpose(2, 0, 1))
        inputs = normalise(torch.from_numpy(image)[None])
        try:
            layer = last_conv(model, inputs)
        except WrongUsage:  # a network without convolutions has no such map
            return {}
        maps[row.path] = grad_cam(model, layer, inputs, [number[row.predicted]])[0].numpy()
    return maps


def _prepared(job: Job, ids: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
    """Prepared pictures, uint8 H W 3."""
    for row in job.intake.rows_of(ids).tolist():
        yield job.store[row].transpose(1, 2, 0)
