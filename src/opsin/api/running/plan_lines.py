"""What is about to happen, said before it starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from opsin.api.running.job import Job
from opsin.core.config import TrainConfig
from opsin.core.config_checks import why_head_learns_by_steps
from opsin.core.printable import printable
from opsin.core.version import version
from opsin.core.words import plural, size
from opsin.models.classifier import count_parameters
from opsin.training.determinism import not_deterministic
from opsin.training.stages import GENTLE

SHOWN = 5


def plan_lines(job: Job, more: Sequence[str] = ()) -> list[str]:
    """Machine, data, model, plan, `more` and place of a run, a line each."""
    config, split = job.config, job.split
    counts = ", ".join(f"{name} {loader.size}" for name, loader in job.plain.items())
    given = " (as given)" if split.given else ""
    return [
        f"opsin {version()}, device {job.plan.device}, {_workforce(job)}",
        f"data   {config.data}: {len(job.intake.index.rows)} files, "
        f"{len(split.classes)} classes; {counts}{given}",
        *(f"       {line}" for line in _not_used(job)),
        *(
            f"       {finding.code}: {finding.message}"
            for finding in job.intake.findings
            if finding.code in ("leak", "imbalance")
        ),
        *(f"       {line}" for line in [job.balance.sentence()] if line),
        *_on_device(job),
        f"model  {_model(job)}",
        *_advice(job),
        f"plan   {_plan(job)}",
        *_bits(job),
        *more,
        f"run    {job.run.path}",
    ]


def _workforce(job: Job) -> str:
    threads = plural(torch.get_num_threads(), "thread")
    count = job.processes.size
    return f"{count} processes of {threads}" if count > 1 else threads


def _bits(job: Job) -> list[str]:
    """What the same seed does not promise, where that is more than other hardware and threads."""
    device = job.plan.device
    if device.type == "cpu":
        return []
    return ["seed   the same seed gives the same weights, except for:"] + [
        f"       - {what}" for what in not_deterministic(device)
    ]


def _on_device(job: Job) -> list[str]:
    there = job.on_device
    if not there:
        return []
    total = size(sum(each.size_bytes for each in there.values()))
    names = " and ".join(there)
    return [f"       {names}: pictures lie on {job.plan.device} as uint8, moved once ({total})"]


def _not_used(job: Job) -> list[str]:
    bad, left_out = job.intake.bad, job.split.left_out
    lines = []
    if bad:
        kinds = Counter(record.error for record in bad).most_common()
        lines.append(f"{len(bad)} skipped: " + ", ".join(f"{n} {code}" for code, n in kinds))
        lines += [f"- {printable(record.source_id)}: {record.error}" for record in bad[:SHOWN]]
    if left_out:
        lines.append(f"{len(left_out)} left out, filed under two classes:")
        lines += [f"- {printable(row.path)}" for row in left_out[:SHOWN]]
    if max(len(bad), len(left_out)) > SHOWN:
        lines.append("(all of them in manifest.csv and split.json)")
    return lines


def _model(job: Job) -> str:
    spec = job.plan.design.spec
    learning = count_parameters(job.model.head if job.config.freeze else job.model)
    frozen = " (the head first)" if job.config.fine_tune else " (the head)"
    return (
        f"{job.config.model}: {count_parameters(job.model):,} parameters, {learning:,} trained"
        f"{frozen if job.config.freeze else ''}; "
        f"input {spec.size_px[0]} x {spec.size_px[1]} px, {spec.resize}"
        f"{f', JPEGs decoded smaller, gap {spec.jpeg_gap:g}' if spec.jpeg_gap else ''}"
    )


def _advice(job: Job) -> list[str]:
    if job.config.freeze and job.plan.origin.weights is None:
        return [
            "       the frozen backbone has random weights, which is seldom wanted: "
            "add --pretrained or --weights FILE"
        ]
    return []


def _plan(job: Job) -> str:
    config = job.config
    steps = len(job.learning.plan(1))
    views = f", {config.views} views" if config.augment != "none" else ""
    solved = config.freeze and config.head != "trained" and not why_head_learns_by_steps(config)
    if solved and job.processes.size == 1 and not job.learning.dataset.augmenter.mixes:
        parts = [
            f"head solved on the features{views}, regularisation by the validation split, "
            f"augment {config.augment}, seed {config.seed}"
        ]
        if config.fine_tune:
            parts.append(f"{_deeper(config)}, {_optimizer(config)}")
        return "; ".join(parts)
    parts = [
        f"{config.epochs} epochs of {steps} steps, {_optimizer(config)}, "
        f"augment {config.augment}, seed {config.seed}"
    ]
    if config.schedule != "constant":
        parts.append(f"the rate goes by {config.schedule}")
    if config.warmup_epochs:
        parts.append(f"rises for {config.warmup_epochs:g} epochs")
    if config.fine_tune:
        parts.append(_deeper(config))
    if config.patience:
        parts.append(f"stops after {config.patience} epochs without gain in {config.monitor}")
    return "; ".join(parts)


def _optimizer(config: TrainConfig) -> str:
    return f"batch {config.batch_size}, {config.optimizer} at {config.lr:g}"


def _deeper(config: TrainConfig) -> str:
    layers = f"the layers from {config.unfreeze} on" if config.unfreeze else "all layers"
    return f"then {plural(config.epochs, 'epoch')} at {config.lr * GENTLE:g}, {layers}"
