"""What `metrics.json` says, arranged for the page. No number is computed anew: shares of the
confusion matrix's rows are the only arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsin.core.report import Report, Value
from opsin.report.data_facts import MANY_CLASSES
from opsin.report.numbers import count, interval, percent

COLUMNS = ("accuracy", "macro_f1", "log_loss", "baseline_accuracy")


@dataclass(frozen=True)
class Cell:
    """A number as it is written, its interval ("" for none), and both as fractions for drawing
    (None where there is nothing to draw).
    """

    text: str
    interval: str = ""
    frac: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class SplitLine:
    """One line of the table of numbers: a split, or a slice of it."""

    split: str
    slice: str
    count: float
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class ClassLine:
    """One class: how many pictures, precision, recall and F1. `training`: from how many pictures
    it was learnt and what they counted, "" where that was not recorded.
    """

    name: str
    support: float
    cells: tuple[Cell, Cell, Cell]
    f1: float
    training: str = ""


@dataclass(frozen=True)
class Pair:
    """`number` pictures of `true` were named `predicted`: `share` of all pictures of `true`."""

    true: str
    predicted: str
    number: float
    share: float


@dataclass(frozen=True)
class Confusion:
    """`rows`: (true class, (count, share of the row) for each predicted class); empty for many
    classes. `pairs`: the classes taken for one another, most frequent first.
    """

    rows: list[tuple[str, list[tuple[float, float]]]]
    pairs: list[Pair]


def cell(value: Value | None, *, as_percent: bool = True) -> Cell:
    """A value as written on the page; a dash for None and for a share of no pictures at all."""
    if value is None or value.count == 0:
        return Cell("–")
    if as_percent:
        return Cell(percent(value.value), interval(value), value.value, value.low, value.high)
    spread = ""
    if value.low is not None and value.high is not None:
        spread = f"{value.low:.3f}–{value.high:.3f}"
    return Cell(f"{value.value:.3f}", spread, None, value.low, value.high)


def get(report: Report, split: str, slice_: str, metric: str) -> Value | None:
    """A value of the report, or None."""
    return report.values.get((split, slice_, metric))


def split_lines(report: Report) -> list[SplitLine]:
    """The table of numbers: each split, then its slices other than the classes."""
    lines = []
    for split in report.splits:
        slices = [s for sp, s, _ in report if sp == split and not s.startswith("class:")]
        for slice_ in dict.fromkeys(slices):
            values = [get(report, split, slice_, metric) for metric in COLUMNS]
            known = next((value for value in values if value is not None), None)
            if known is None:
                continue
            cells = tuple(
                cell(value, as_percent=metric != "log_loss")
                for metric, value in zip(COLUMNS, values, strict=True)
            )
            lines.append(SplitLine(split, slice_, known.count, cells))
    return lines


def class_lines(report: Report, split: str, classes: Sequence[str]) -> list[ClassLine]:
    """Precision, recall and F1 of each class, in the order of the class list."""
    lines = []
    training = training_texts(report)
    for name in classes:
        precision, recall, f1, support = (
            get(report, split, f"class:{name}", metric)
            for metric in ("precision", "recall", "f1", "support")
        )
        if precision is recall is f1 is None:
            continue
        lines.append(
            ClassLine(
                name,
                support.value if support else 0,
                (cell(precision), cell(recall), cell(f1)),
                f1.value if f1 else 0,
                training.get(name, ""),
            )
        )
    return lines


def training_texts(report: Report) -> dict[str, str]:
    """For each class from how many pictures it was learnt, and by what they were balanced; empty
    where there is no such record or none that can be understood.
    """
    table: Any = report.tables.get("balance")
    try:
        mode = table["mode"]
        return {row["name"]: _training(mode, row) for row in table["classes"]}
    except (TypeError, KeyError, ValueError, ZeroDivisionError):
        return {}


def _training(mode: str, row: Mapping[str, Any]) -> str:
    pictures = count(row["count"])
    if mode == "weights":
        return f"{pictures}, each counts ×{row['weight']:.2g}"
    if mode == "sampling":
        return f"{pictures}, each drawn {row['draws'] / row['count']:.2g} times an epoch"
    return pictures


def confusion(report: Report, split: str, classes: Sequence[str]) -> Confusion | None:
    """The confusion matrix of a split, or None where there is none that fits the class list."""
    table = report.tables.get(f"confusion/{split}")
    size = len(classes)
    if not size or not isinstance(table, list) or len(table) != size:
        return None
    if any(len(row) != size for row in table):
        return None
    totals = [sum(row) for row in table]
    pairs = [
        Pair(classes[i], classes[j], number, number / totals[i])
        for i, row in enumerate(table)
        for j, number in enumerate(row)
        if i != j and number > 0
    ]
    pairs.sort(key=lambda pair: (-pair.number, -pair.share, pair.true, pair.predicted))
    rows = []
    if size <= MANY_CLASSES:
        rows = [
            (classes[i], [(number, number / totals[i] if totals[i] else 0.0) for number in row])
            for i, row in enumerate(table)
        ]
    return Confusion(rows, pairs)
