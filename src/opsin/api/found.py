"""What the finders give back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opsin.training.finders.batch_size import BatchSizes
    from opsin.training.finders.overfit import Memorised
    from opsin.training.finders.rate import RateCurve


@dataclass(frozen=True)
class RateFound:
    """The curve of the range test, and where it was drawn."""

    curve: RateCurve
    plot: Path | None

    @property
    def lr(self) -> float | None:
        """The suggestion, to two digits; None where no rate lowered the loss."""
        return None if self.curve.tenth is None else float(f"{self.curve.tenth:.1e}")

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        curve = self.curve
        return {
            "lr": self.lr,
            "valley": curve.valley,
            "steepest": curve.steepest,
            "ended": curve.ended,
            "plot": str(self.plot) if self.plot else None,
            "rates": list(curve.rates),
            "losses": list(curve.losses),
            "smoothed": list(curve.smoothed),
        }


@dataclass(frozen=True)
class BatchSizeFound:
    """Which sizes fit, and how fast they are."""

    sizes: BatchSizes

    @property
    def batch_size(self) -> int:
        """The smallest size within 5 % of the best throughput."""
        return self.sizes.best.samples

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "batch_size": self.batch_size,
            "largest": self.sizes.largest,
            "limit": self.sizes.limit,
            "proved": self.sizes.proved,
            "free_bytes": self.sizes.free,
            "sizes": [
                {
                    "batch_size": row.samples,
                    "step_ms": row.seconds * 1e3,
                    "images_per_s": row.per_second,
                    "estimated_bytes": row.bytes,
                }
                for row in self.sizes.rows
            ],
        }


@dataclass(frozen=True)
class OverfitFound:
    """Whether the model learnt one batch by heart; `advice`: what to look at where it did not."""

    result: Memorised
    advice: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the loss came down to a twentieth of its start."""
        return self.result.passed

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object; a loss that is not finite is null."""
        import math

        losses = [loss if math.isfinite(loss) else None for loss in self.result.losses]
        return {
            "passed": self.passed,
            "fault": None if self.passed else self.result.fault,
            "advice": list(self.advice),
            "steps": len(losses),
            "samples": self.result.samples,
            "goal": self.result.goal,
            "losses": losses,
        }


Found = RateFound | BatchSizeFound | OverfitFound
