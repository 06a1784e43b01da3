"""The numbers of a classifier, from its saved predictions, sample-weighted, with intervals."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsin.core.report import Report, Value
from opsin.evaluation.intervals import LEVEL, RESAMPLES, bootstrap_f1, bootstrapped, share
from opsin.evaluation.predictions import PredictionTable
from opsin.tasks.class_scores import confusion_matrix, each_class, log_loss, macro_f1


def evaluate_classification(
    table: PredictionTable,
    *,
    train_targets: Sequence[int] | None = None,
    leaks: Collection[str] = (),
    balance: Mapping[str, Any] | None = None,
) -> Report:
    """Every metric of every split in `table`.

    `train_targets`: class indices of the training pictures, for the majority baseline; without
    them the baseline is the split's own most frequent class. `leaks`: source ids that are in
    training as well; each split that has some gets a second slice, "without_leaks". `balance`: what
    was done about classes of different size (`Balance.to_dict`), kept as the table "balance".
    """
    report = Report(
        settings={
            "interval": f"{LEVEL:.0%}",
            "shares": "Wilson score interval",
            "f1": f"percentile bootstrap, {RESAMPLES} resamples",
            "weights": "every sample counts once",
            "classes": list(table.classes),
        }
    )
    if balance is not None:
        report.tables["balance"] = dict(balance)
    majority = _majority(train_targets) if train_targets is not None else None
    for split in table.splits:
        rows = table.rows(split)
        confusion = _confusion(table, rows)
        low, high = bootstrap_f1(confusion)
        f1 = bootstrapped(macro_f1(confusion), len(rows), low[-1], high[-1])
        _add_slice(report, table, split, "all", rows, majority, f1)
        _add_classes(report, table, split, confusion, low, high)
        clean = rows[[not leaks or table.ids[row] not in leaks for row in rows.tolist()]]
        if len(clean) < len(rows) and len(clean):
            confusion = _confusion(table, clean)
            low, high = bootstrap_f1(confusion)
            f1 = bootstrapped(macro_f1(confusion), len(clean), low[-1], high[-1])
            _add_slice(report, table, split, "without_leaks", clean, majority, f1)
    return report


def _majority(targets: Sequence[int]) -> int:
    return int(np.bincount(np.asarray(targets, np.int64)).argmax())


def _add_slice(
    report: Report,
    table: PredictionTable,
    split: str,
    slice_: str,
    rows: NDArray[np.int64],
    majority: int | None,
    f1: Value,
) -> None:
    true, predicted = table.true[rows], table.predicted[rows]
    count = len(rows)
    if majority is None:
        majority = _majority(true.tolist())
    report.add(split, slice_, "accuracy", share(int((true == predicted).sum()), count))
    report.add(split, slice_, "baseline_accuracy", share(int((true == majority).sum()), count))
    report.add(split, slice_, "macro_f1", f1)
    report.add(split, slice_, "log_loss", Value(log_loss(table.loss[rows]), count))


def _add_classes(
    report: Report,
    table: PredictionTable,
    split: str,
    confusion: NDArray[np.int64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    f1 = each_class(confusion)["f1"]
    for index, name in enumerate(table.classes):
        slice_ = f"class:{name}"
        hits, support = int(confusion[index, index]), int(confusion[index].sum())
        named = int(confusion[:, index].sum())
        report.add(split, slice_, "precision", share(hits, named))
        report.add(split, slice_, "recall", share(hits, support))
        report.add(
            split,
            slice_,
            "f1",
            bootstrapped(f1[index], support, low[index], high[index]),
        )
        report.add(split, slice_, "support", Value(float(support), support))
    report.tables[f"confusion/{split}"] = confusion.tolist()


def _confusion(table: PredictionTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return confusion_matrix(table.true[rows], table.predicted[rows], len(table.classes))
