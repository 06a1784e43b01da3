"""The value of an epoch that a callback goes by."""

from __future__ import annotations

from opsin.core.errors import WrongUsage
from opsin.core.registry import unknown
from opsin.training.history import EpochRecord
from opsin.training.monitor import Monitor


def value_of(monitor: Monitor, record: EpochRecord) -> float:
    """What `monitor` says of `record`. Raises `WrongUsage` that lists the metrics there are."""
    if monitor.name not in record.values:
        fault = unknown("metric", monitor.name, sorted(record.values))
        raise WrongUsage(fault.message, code=fault.code, where="monitor")
    return record.values[monitor.name]
