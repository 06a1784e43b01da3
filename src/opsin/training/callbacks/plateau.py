"""Lower the rate when a stage no longer gets better."""

from __future__ import annotations

from collections.abc import Sequence

from opsin.training.callback import Answer, Callback, Scale
from opsin.training.callbacks.monitored import value_of
from opsin.training.events import EpochStart
from opsin.training.monitor import Monitor


class Plateau(Callback):
    """Multiplies the schedule's rate by `factor` each time more than `patience` epochs in a row
    were no better than the best before them, down to `min_share` of it; anew in each stage.

    The rule of `torch.optim.lr_scheduler.ReduceLROnPlateau` with an absolute threshold
    (`monitor.min_delta`) and no cooldown, but computed from the stage's history each time, so that
    nothing has to be remembered. Raises `WrongUsage` for a metric that the epochs do not have.
    """

    def __init__(
        self,
        monitor: Monitor,
        *,
        patience: int = 3,
        factor: float = 0.1,
        min_share: float = 0.001,
    ) -> None:
        self.monitor = monitor
        self.patience = patience
        self.factor = factor
        self.min_share = min_share

    def on_epoch_start(self, start: EpochStart) -> Answer:
        """The share of the rate that this epoch shall have."""
        records = start.history.of_stage(start.stage)
        share = self.share([value_of(self.monitor, record) for record in records])
        return None if share == 1 else Scale(share)

    def share(self, values: Sequence[float]) -> float:
        """The share after the epochs of a stage that had these values.

        >>> plateau = Plateau(Monitor("val_loss"), patience=1, factor=0.5)
        >>> plateau.share([0.9, 0.8, 0.8]), plateau.share([0.9, 0.8, 0.8, 0.8])
        (1.0, 0.5)
        """
        share, waited = 1.0, 0
        best: float | None = None
        for value in values:
            if best is None or self.monitor.better(value, best):
                best, waited = value, 0
                continue
            waited += 1
            if waited > self.patience:
                share, waited = max(share * self.factor, self.min_share), 0
        return share
