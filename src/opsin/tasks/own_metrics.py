"""Metrics of the user's own: torchmetrics, or plain functions."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from opsin.core.batch import Batch
from opsin.core.direction import grows_by_name
from opsin.core.errors import OpsinError, WrongUsage
from opsin.tasks.meter import Gather

OwnMetric = Any
"""What has `update`, `compute` and `reset` (torchmetrics), or a function (outputs, targets) ->
number of all samples of an epoch at once, on the CPU."""


def name_metrics(
    metrics: Sequence[OwnMetric] | Mapping[str, OwnMetric], taken: Sequence[str] = ()
) -> dict[str, OwnMetric]:
    """Each metric under its name: as given, else of the function, or of the class in snake case.

    Raises `WrongUsage` for a name that is missing, used twice or among `taken`.
    """
    pairs = metrics.items() if isinstance(metrics, Mapping) else [(_name(m), m) for m in metrics]
    named: dict[str, OwnMetric] = {}
    for name, metric in pairs:
        if not callable(metric) and not _is_stateful(metric):
            raise WrongUsage(
                "a metric is a torchmetrics.Metric or a function (outputs, targets) -> number, "
                f"came {type(metric).__name__}",
                where="metrics",
            )
        if isinstance(metric, type):
            raise WrongUsage(f"{name} is a class", where="metrics", fix=f"{metric.__name__}(...)")
        if name in named or name in taken:
            raise WrongUsage(
                f'two metrics are called "{name}"',
                where="metrics",
                fix="names of your own: metrics={name: metric, ...}",
            )
        named[name] = metric
    return named


def names_of(metrics: Mapping[str, OwnMetric]) -> tuple[str, ...]:
    """The names of the numbers that `metrics` give; a torchmetrics collection gives several."""
    names: list[str] = []
    for name, metric in metrics.items():
        names += map(str, metric.keys()) if hasattr(metric, "keys") else [name]
    return tuple(names)


def larger_is_better(metrics: Mapping[str, OwnMetric], name: str) -> bool:
    """What torchmetrics says of itself; else whether `name` is not that of an error or a loss."""
    for own, metric in metrics.items():
        found = metric if own == name else None
        if hasattr(metric, "keys") and name in metric.keys():  # noqa: SIM118  # no mapping
            found = metric[name]
        said = getattr(found, "higher_is_better", None)
        if said is not None:
            return bool(said)
    return grows_by_name(name)


class OwnMeter:
    """All of `metrics` over one epoch.

    torchmetrics keep their own counts and bring them together over `torch.distributed`
    themselves; a plain function is called once, with the outputs and targets of all processes.
    """

    def __init__(self, metrics: Mapping[str, OwnMetric]) -> None:
        self._stateful = {name: m for name, m in metrics.items() if _is_stateful(m)}
        self._functions = {name: m for name, m in metrics.items() if not _is_stateful(m)}
        self._outputs: list[torch.Tensor] = []
        self._targets: list[torch.Tensor] = []
        for metric in self._stateful.values():
            metric.reset()

    def update(self, outputs: torch.Tensor, batch: Batch) -> None:
        """Take in one batch."""
        outputs = outputs.detach()
        for name, metric in self._stateful.items():
            if hasattr(metric, "to"):
                metric.to(outputs.device)
            with _named(name):
                metric.update(outputs, batch.targets)
        if self._functions:
            if not isinstance(batch.targets, torch.Tensor):
                raise WrongUsage(
                    f"the targets are {type(batch.targets).__name__}, and a function needs those "
                    "of the whole epoch in one tensor",
                    where=f"metric {next(iter(self._functions))}",
                    fix="a torchmetrics.Metric, which takes them in batch by batch",
                )
            self._outputs.append(outputs.cpu())
            self._targets.append(batch.targets.cpu())

    def compute(self, gather: Gather) -> dict[str, float]:
        """The numbers. Raises `WrongUsage` for a metric that gives more than one."""
        values: dict[str, float] = {}
        for name, metric in self._stateful.items():
            with _named(name), warnings.catch_warnings():
                # A process that has no row at all was never updated, and counts nothing.
                warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
                found = metric.compute()
            parts = found.items() if isinstance(found, Mapping) else [(name, found)]
            values |= {str(part): _number(value, str(part)) for part, value in parts}
        if self._functions:
            outputs, targets = (
                gather(torch.cat(rows) if rows else torch.empty(0)).cpu()
                for rows in (self._outputs, self._targets)
            )
            for name, function in self._functions.items():
                with _named(name):
                    values[name] = _number(function(outputs, targets), name)
        return values


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say which metric it was that raised."""
    try:
        yield
    except (OpsinError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise WrongUsage(
            f"it raised {type(error).__name__}: {str(error).rstrip('.')}",
            code="metric_failed",
            where=f"metric {name}",
            fix="does it fit the outputs and targets? for two classes with one logit the outputs "
            "are B x 1",
        ) from error


def _is_stateful(metric: OwnMetric) -> bool:
    return all(callable(getattr(metric, name, None)) for name in ("update", "compute", "reset"))


def _name(metric: OwnMetric) -> str:
    name = str(getattr(metric, "__name__", type(metric).__name__))
    if name in ("<lambda>", "partial"):
        raise WrongUsage(
            f"a {name.strip('<>')} has no name", where="metrics", fix="metrics={name: metric, ...}"
        )
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _number(value: Any, name: str) -> float:
    if isinstance(value, torch.Tensor) and value.numel() != 1:
        raise WrongUsage(
            f"it gave {' x '.join(map(str, value.shape))} values; wanted is one number",
            where=f"metric {name}",
            fix='an average over them, for example average="macro"',
        )
    try:
        return float(value)
    except (TypeError, ValueError):
        raise WrongUsage(
            f"it gave {type(value).__name__}; wanted is one number", where=f"metric {name}"
        ) from None
