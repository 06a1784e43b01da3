"""Stop a stage when it no longer gets better."""

from __future__ import annotations

from opsin.training.callback import Answer, Ask, Callback
from opsin.training.callbacks.monitored import value_of
from opsin.training.events import EpochEnd
from opsin.training.monitor import Monitor


class EarlyStopping(Callback):
    """Asks to stop after `patience` epochs of a stage without a better value of `monitor`.

    `baseline`: a value to beat. A stage whose first `patience` epochs do not beat it stops there;
    after one that does, the rule is the same as without. It has no memory of its own, so a resumed
    run stops where the uninterrupted one would. Raises `WrongUsage` for a metric that the epochs
    do not have.
    """

    def __init__(self, patience: int, monitor: Monitor, *, baseline: float | None = None) -> None:
        self.patience = patience
        self.monitor = monitor
        self.baseline = baseline

    def on_epoch_end(self, end: EpochEnd) -> Answer:
        """Stop when the best epoch of this stage lies `patience` epochs back."""
        records = end.history.of_stage(end.record.stage)
        values = [value_of(self.monitor, record) for record in records]
        first = values[: self.patience]
        hopeless = (
            self.baseline is not None
            and len(first) == self.patience
            and not any(self.monitor.better(value, self.baseline) for value in first)
        )
        return Ask.STOP if hopeless or self._waited(end) else None

    def _waited(self, end: EpochEnd) -> bool:
        return end.history.since_best(self.monitor) >= self.patience
