"""Stop a stage when it no longer gets better."""

from __future__ import annotations

from opsin.training.callback import Ask, Callback
from opsin.training.history import EpochRecord, History


class EarlyStopping(Callback):
    """Asks to stop after `patience` epochs without a better monitored value. It has no state of
    its own, so a resumed run stops where the uninterrupted one would.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def on_epoch_end(self, record: EpochRecord, history: History) -> Ask | None:
        """Stop when the best epoch of this stage lies `patience` epochs back."""
        return Ask.STOP if history.since_best >= self.patience else None
