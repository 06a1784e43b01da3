"""Threads, layout, precision, graphs, allocator of a run: as asked, as remembered, or as timed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from opsin.api.running.graphs_choice import choose_graphs
from opsin.api.running.job import Job
from opsin.api.running.timings import only_features, timings
from opsin.core.allocator import ENVIRONMENT, held_memory
from opsin.core.config import Graphs, Layout
from opsin.core.config_file import write_config
from opsin.core.files import read_json, write_json
from opsin.training.checkpoint import Saved
from opsin.training.graphs import can_record
from opsin.training.probe import Choice, Timing, apply, has_layouts, lay_out


@dataclass(frozen=True)
class Tuning:
    """`job` with its settings settled; `line` of the plan; `record` for `env.json`; `timings`: the
    chosen settings first, empty where nothing was timed.
    """

    job: Job
    line: str
    record: dict[str, Any]
    timings: tuple[Timing, ...] = ()


@contextmanager
def tuned(job: Job, resume_from: Saved | None = None, *, write: bool = True) -> Iterator[Tuning]:
    """The settings of a run while it lasts: settled, applied, and with `write` written to its
    `config.yaml` and `env.json`. A resumed run has those of its checkpoint, and nothing is timed.
    """
    before = torch.get_num_threads()
    with held_memory() if job.config.tune else nullcontext("memory as usual") as held:
        try:
            if resume_from is not None:
                yield _pinned(job, resume_from, held)
            else:
                tuning = _settled(job, held)
                if write and job.processes.rank == 0:
                    _write(tuning)
                yield tuning
        finally:
            torch.set_num_threads(before)


def plain_layout(job: Job) -> None:
    """Lay the weights as everybody else expects them, once nothing is learnt any more."""
    lay_out(job.model, "contiguous")


def _pinned(job: Job, saved: Saved, held: str) -> Tuning:
    if saved.state["processes"] == job.processes.size:
        torch.set_num_threads(saved.state["threads"])
    layout = "channels_last" if saved.state["channels_last"] else "contiguous"
    threads = torch.get_num_threads()
    graphs = ", CUDA graphs" if job.config.graphs == "on" else ""
    line = f"{_threads(threads)}, {layout}, {held}{graphs}: as the run was begun"
    return Tuning(job, line, {})


def _settled(job: Job, held: str) -> Tuning:
    asked, alone = job.plan.config, job.processes.size == 1
    ours = job.plan.own.model is None and job.plan.own.loss is None
    cpu = job.plan.device.type == "cpu"
    layouts = has_layouts(job.model)
    free: Layout = "channels_last" if job.config.tune and ours and alone else "contiguous"
    default = Choice(
        torch.get_num_threads(),
        (free if layouts else "contiguous") if asked.layout == "auto" else asked.layout,
        "float32" if asked.precision == "auto" else asked.precision,
    )
    if asked.precision == "auto" and job.plan.device.type == "cuda":
        default = replace(default, precision="bfloat16" if _cuda_bfloat16() else "float32")
    timed: tuple[Timing, ...] = ()
    source = "the default"
    if cpu and job.config.tune and alone and ours:
        timed, source = timings(job, default, layouts=layouts, held=held)
        if len(timed) < 2:  # no time was left to try another
            source = "the default"
    chosen = timed[0].choice if timed else default
    apply(chosen, job.model)
    config = job.config.model_copy(
        update={
            "threads": chosen.threads,
            "layout": chosen.layout,
            "precision": chosen.precision,
        }
    )
    record = {
        "threads": chosen.threads,
        "memory_format": chosen.layout,
        "precision": chosen.precision,
        "memory": held,
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "chosen_by": source,
        "probe": [each.to_dict() for each in timed],
    }
    job, line = replace(job, config=config), _line(chosen, timed, held, job)
    if can_record(job.plan.device):
        record["graphs"] = found = choose_graphs(job)
        used: Graphs = "on" if found["used"] else "off"
        job = replace(job, config=config.model_copy(update={"graphs": used}))
        line += f"; CUDA graphs {used}: {found['why']}"
    return Tuning(job, line, record, timed)


def _cuda_bfloat16() -> bool:
    return bool(torch.cuda.is_bf16_supported())


def _threads(count: int) -> str:
    return f"{count} thread" + "s" * (count != 1)


def _line(chosen: Choice, timings: tuple[Timing, ...], held: str, job: Job) -> str:
    words = [_threads(chosen.threads), chosen.layout]
    if chosen.precision != "float32":
        words.append(chosen.precision)
    text = ", ".join([*words, held])
    if not timings:
        return text
    what = "a batch of features" if only_features(job.config) else "a step"
    text += f": {timings[0].step_s * 1e3:.3g} ms {what}"
    slowest = max((each.step_s for each in timings[1:] if each.times > 1), default=0.0)
    return text + (f" beside {slowest * 1e3:.3g}" if slowest else "")


def _write(tuning: Tuning) -> None:
    run = tuning.job.run
    write_config(run.config, tuning.job.config)
    try:
        environment = read_json(run.environment)
    except (OSError, ValueError):
        return
    if isinstance(environment, dict):
        write_json(run.environment, environment | {"cpu": tuning.record})
