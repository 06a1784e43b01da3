"""What the parts of a run took, kept for the forecast of the next one."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Any

from opsin.api.running.job import Job
from opsin.core.device import peak_process_bytes
from opsin.core.machine_record import recall, remember
from opsin.training.history import History

END = {"bundle": 4.5, "report": 1.2}
"""Seconds of the end of a run on a machine that has not seen one: a small network, two cores."""
_DECIDES = (
    *("batch_size", "augment", "threads", "layout", "precision", "freeze", "fine_tune"),
    *("unfreeze", "views", "head", "workers", "accumulate", "tune", "device", "optimizer", "loss"),
    *("val_frac", "test_frac", "ema", "samples", "log_gradients", "balance", "clip_norm"),
)
END_BYTES = 900_000_000
"""What a process that exports comes to, with a small network."""


class Spent:
    """Seconds by part: `with spent.on("bundle")`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Count what the context takes."""
        begin = time.monotonic()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.monotonic() - begin

    def keep(self, job: Job, history: History) -> None:
        """Remember them for runs like this one on this machine, and what an epoch took."""
        if not job.config.cache:
            return
        found = self.seconds | {"peak_bytes": peak_process_bytes()}
        times = [record.seconds for record in history.records[1:]]  # the first one warms up
        if times:
            found["epoch_s"] = median(times)
        remember("parts", _key(job), found)


def last_time(job: Job) -> Mapping[str, Any]:
    """Seconds of `evaluate`, `bundle`, `report` and `peak_bytes` of the last run like `job` here;
    those parts that nobody knows are guessed. `epoch_s`, `train` and `evaluate` only where they are
    known.
    """
    found = (recall("parts", _key(job)) if job.config.cache else None) or {}
    known = {
        name: value
        for name, value in found.items()
        if isinstance(value, int | float) and 0 <= value < math.inf
    }
    return {**END, "peak_bytes": END_BYTES if job.config.bundle else 0, **known}


def _key(job: Job) -> dict[str, Any]:
    config = job.config
    return {name: getattr(config, name) for name in _DECIDES} | {
        "model": config.model,
        "input_px": list(job.plan.design.spec.size_px),
        "pictures": sum(loader.size for loader in job.plain.values()),
        "parts": [config.bundle, config.report],
    }
