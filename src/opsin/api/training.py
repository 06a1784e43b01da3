"""What a new run and a resumed one have in common: train, evaluate, bundle, report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from opsin.api.fit import fit
from opsin.api.job import Job
from opsin.api.plan_lines import plan_lines
from opsin.api.run_result import RunResult
from opsin.core.errors import Interrupted, NoRoom, NotEnoughMemory, WrongUsage
from opsin.core.files import sha256_file, write_json
from opsin.core.finding import worst_first
from opsin.core.report import Report
from opsin.data.intake import changed_since_scan
from opsin.data.manifest import contents, data_hash
from opsin.evaluation.classification import evaluate_classification
from opsin.evaluation.collect import collect
from opsin.evaluation.predictions import PredictionTable
from opsin.training.checkpoint import CheckpointStore, Saved
from opsin.training.interrupt import StopRequest


def run_training(job: Job, *, resume_from: Saved | None = None) -> RunResult:
    """Train what is not trained yet, then evaluate, bundle and report. The run is locked.

    Raises `Interrupted` after Ctrl-C or SIGTERM, with the command that goes on.
    """
    if resume_from and resume_from.state["processes"] == job.processes.size:
        torch.set_num_threads(resume_from.state["threads"])
    for line in plan_lines(job):
        job.progress.line(line)
    go_on = f"opsin train --resume {job.run.path}"
    with StopRequest(job.progress.line) as stop:
        try:
            history = fit(job, stop, resume_from)
            job.processes.leave()
            if job.processes.rank:
                raise SystemExit(0)
            table, report = _evaluate(job, stop)
            stop.check("after evaluating")
            bundle = _bundle(job) if job.config.bundle else None
            stop.check("before the report")
            html = _report(job, table) if job.config.report else None
        except Interrupted as error:
            error.fix = go_on
            raise
        except NoRoom as error:
            if error.code == "disk_full":
                error.fix = f"free some space, then: {go_on}"
            raise
        except KeyboardInterrupt:
            code = stop.exit_code or 130
            last = CheckpointStore(job.run.checkpoints).last()
            kept = f"the last checkpoint is {last}" if last else "there is no checkpoint yet"
            raise Interrupted(f"stopped at once; {kept}", exit_code=code, fix=go_on) from None
        except RuntimeError as error:
            lost = job.processes.fault(error)
            if lost is not None:
                last = CheckpointStore(job.run.checkpoints).last()
                lost.message += f"; the last checkpoint is {last}" if last else ""
                lost.fix = lost.fix or go_on
                raise lost from error
            fault = _out_of_memory(error, job)
            if fault is None:
                raise
            raise fault from error
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise WrongUsage(
                "batch-norm cannot learn from a single value a channel",
                where="batch_size",
                fix="a larger --batch-size or --image-size",
            ) from error
    best = history.best
    return RunResult(job.run.path, report, best.epoch if best else 0, bundle, html)


def _out_of_memory(error: RuntimeError, job: Job) -> NotEnoughMemory | None:
    """Torch raises one class for everything; its words tell whether memory is meant."""
    text = str(error)
    if "memory" not in text or not ("alloc" in text or "out of memory" in text):
        return None
    return NotEnoughMemory(
        f"a step of {job.config.batch_size} pictures does not fit: " + text.splitlines()[0][:200],
        where=str(job.run.path),
        fix="a smaller --batch-size or --image-size",
    )


def _evaluate(job: Job, stop: StopRequest) -> tuple[PredictionTable, Report]:
    def on_batch(done: int, total: int) -> None:
        job.progress.step("evaluating", done, total)
        stop.check("while evaluating; training is done and saved")

    table = collect(
        job.model,
        job.task,
        job.plain,
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
    write_json(job.run.metrics, report.to_dict())
    changed = changed_since_scan(job.intake, [i for ids in job.split.splits.values() for i in ids])
    if changed:
        job.progress.line(f"{changed.code}: {changed.message}")
        found = worst_first([*job.intake.findings, changed])
        write_json(job.run.findings, [finding.to_dict() for finding in found])
    return table, report


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
        pictures=[(source_id, _prepared(job, source_id)) for source_id in chosen],
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
    for row in worst_pictures(table):
        image = np.ascontiguousarray(_prepared(job, row.path).transpose(2, 0, 1))
        inputs = normalise(torch.from_numpy(image)[None])
        try:
            layer = last_conv(model, inputs)
        except WrongUsage:  # a network without convolutions has no such map
            return {}
        maps[row.path] = grad_cam(model, layer, inputs, [number[row.predicted]])[0].numpy()
    return maps


def _prepared(job: Job, source_id: str) -> NDArray[np.uint8]:
    """A prepared picture, uint8 H W 3."""
    return job.store[job.intake.position[source_id]].transpose(1, 2, 0)
