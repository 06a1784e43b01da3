"""What training gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsin.core.report import Report, Value, main_split

if TYPE_CHECKING:
    from opsin.core.prediction import ClassPrediction


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, its numbers, its bundle and report when they were written."""

    path: Path
    report: Report
    best_epoch: int
    bundle: Path | None = None
    report_html: Path | None = None

    @property
    def split(self) -> str:
        """The split that the headline speaks of: test, or val where no test was given."""
        return main_split(self.report.splits) or "val"

    @property
    def accuracy(self) -> Value:
        """Accuracy on `split`, with its interval."""
        return self.report[self.split, "all", "accuracy"]

    def predict(self, *paths: str | Path) -> list[ClassPrediction]:
        """Ask the run's bundle about pictures."""
        from opsin.api.predict import predict

        return predict(self.path, *paths)

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "run": str(self.path),
            "best_epoch": self.best_epoch,
            "bundle": str(self.bundle) if self.bundle else None,
            "report": str(self.report_html) if self.report_html else None,
            "metrics": self.report.to_dict(),
        }
