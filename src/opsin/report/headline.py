"""The first lines of the page: what was learnt from what, and the one number that counts."""

from __future__ import annotations

from dataclasses import dataclass

from opsin.core.report import Value, main_split
from opsin.report.read import Run
from opsin.report.results import get

SPLIT_WORDS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Headline:
    """`accuracy`, `baseline`: of `split`; None before an evaluation. `verdict`: one sentence on
    what the number is worth. `epochs`: those that were run, of `epochs_planned` (None: unknown).
    """

    name: str
    model: str
    classes: tuple[str, ...]
    trained_on: int
    epochs: int
    epochs_planned: int | None
    seconds: float
    split: str | None
    accuracy: Value | None
    baseline: Value | None
    verdict: str

    @property
    def split_word(self) -> str:
        """`split` in words."""
        return SPLIT_WORDS.get(self.split or "", self.split or "")


def headline(run: Run) -> Headline:
    """The headline of a run, whatever of it exists."""
    split = main_split(run.metrics.splits) if run.metrics else None
    accuracy = baseline = None
    if run.metrics and split:
        accuracy = get(run.metrics, split, "all", "accuracy")
        baseline = get(run.metrics, split, "all", "baseline_accuracy")
    planned = run.config.get("epochs")
    if run.config.get("fine_tune"):
        planned = None  # then it counts for each of the two stages
    return Headline(
        name=run.folder.resolve().name,
        model=str(run.config.get("model", "") or "model"),
        classes=run.classes,
        trained_on=sum(row.split == "train" for row in run.pictures),
        epochs=len(run.history.records),
        epochs_planned=planned if isinstance(planned, int) else None,
        seconds=sum(record.seconds for record in run.history.records),
        split=split,
        accuracy=accuracy,
        baseline=baseline,
        verdict=_verdict(split, accuracy, baseline),
    )


def _verdict(split: str | None, accuracy: Value | None, baseline: Value | None) -> str:
    if accuracy is None:
        return "There is no evaluation in this run folder yet, so nothing is said of its quality."
    parts = []
    if baseline is not None and accuracy.low is not None and accuracy.high is not None:
        if accuracy.low > baseline.value:
            parts.append("Clearly better than always naming the most common class.")
        elif accuracy.high < baseline.value:
            parts.append("Worse than always naming the most common class.")
        else:
            parts.append(
                "The interval holds the baseline: it is not shown that the model knows more than "
                "which class is the most common."
            )
    if split == "val":
        parts.append(
            "There is no test set; the validation pictures also chose the best epoch, so this "
            "number is somewhat too good."
        )
    return " ".join(parts)
