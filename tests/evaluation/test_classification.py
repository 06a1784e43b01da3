"""Numbers against independent implementations."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from opsin.core.columns import Codes
from opsin.core.report import Report
from opsin.data.balance import choose_balance
from opsin.evaluation.classification import evaluate_classification
from opsin.evaluation.intervals import bootstrap_f1, share
from opsin.evaluation.predictions import PredictionTable


def table(count: int = 200, classes: int = 4, seed: int = 0) -> PredictionTable:
    draw = np.random.default_rng(seed)
    true = draw.integers(0, classes, count)
    logits = draw.normal(0, 1, (count, classes))
    logits[np.arange(count), true] += 1
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return PredictionTable(
        tuple(f"class {n}" for n in range(classes)),
        Codes("test" if n % 2 else "val" for n in range(count)),
        tuple(f"{n}.png" for n in range(count)),
        true,
        probabilities,
    )


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The formula of Wilson (1927) in float64."""
    z = 1.959963984540054
    p = hits / count
    middle = p + z * z / (2 * count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


@pytest.mark.parametrize(("hits", "count"), [(0, 5), (5, 5), (37, 75), (1, 1), (9410, 10_000)])
def test_wilson(hits: int, count: int) -> None:
    value = share(hits, count)
    assert (value.low, value.high) == pytest.approx(wilson(hits, count), abs=1e-9)


def test_agrees_with_scikit_learn() -> None:
    data = table()
    report = evaluate_classification(data, train_targets=[2, 2, 1])
    for split in ("val", "test"):
        rows = data.rows(split)
        true, predicted = data.true[rows], data.predicted[rows]
        got = {m: report[split, "all", m].value for m in ("accuracy", "macro_f1", "log_loss")}
        assert got["accuracy"] == pytest.approx(metrics.accuracy_score(true, predicted))
        assert got["macro_f1"] == pytest.approx(metrics.f1_score(true, predicted, average="macro"))
        assert got["log_loss"] == pytest.approx(
            metrics.log_loss(true, data.probabilities[rows], labels=range(4))
        )
        assert report[split, "all", "baseline_accuracy"].value == (true == 2).mean()
        each = metrics.precision_recall_fscore_support(true, predicted, labels=range(4))
        for n, name in enumerate(data.classes):
            for at, metric in enumerate(("precision", "recall", "f1", "support")):
                value = report[split, f"class:{name}", metric]
                assert value.value == pytest.approx(each[at][n])
                if value.low is not None and value.high is not None:
                    assert value.low <= value.value <= value.high
        confusion = metrics.confusion_matrix(true, predicted, labels=range(4))
        assert report.tables[f"confusion/{split}"] == confusion.tolist()


def test_every_sample_counts_once_whatever_the_batches() -> None:
    """The trap of the sources: a mean of batch means weights the last, smaller batch too much."""
    data = table(count=34)
    report = evaluate_classification(data)
    hits = (data.true == data.predicted).astype(float)
    by_batch = np.mean([hits[:32].mean(), hits[32:].mean()])
    both = [report[s, "all", "accuracy"] for s in ("val", "test")]
    overall = sum(v.value * v.count for v in both) / sum(v.count for v in both)
    assert overall == pytest.approx(hits.mean())
    assert overall != pytest.approx(by_batch)


def test_bootstrap_covers_and_is_repeatable() -> None:
    """An interval of F1 by drawing samples, instead of cells, is the same within noise."""
    data = table(count=300)
    true, predicted = data.true, data.predicted
    confusion = metrics.confusion_matrix(true, predicted)
    low, high = bootstrap_f1(confusion)
    np.testing.assert_array_equal(low, bootstrap_f1(confusion)[0])
    draw = np.random.default_rng(1)
    scores = []
    for _ in range(600):
        rows = draw.integers(0, 300, 300)
        scores.append(metrics.f1_score(true[rows], predicted[rows], average="macro"))
    assert low[-1] == pytest.approx(np.quantile(scores, 0.025), abs=0.015)
    assert high[-1] == pytest.approx(np.quantile(scores, 0.975), abs=0.015)


def test_leaks_get_a_second_metric() -> None:
    data = table(count=40)
    wrong = [i for i, t, p in zip(data.ids, data.true, data.predicted, strict=True) if t != p]
    report = evaluate_classification(data, leaks=set(wrong))
    for split in report.splits:
        assert report[split, "without_leaks", "accuracy"].value == 1
        assert report[split, "all", "accuracy"].value < 1


def test_classes_that_are_absent_do_not_break_anything() -> None:
    data = PredictionTable(
        ("a", "b", "c"), Codes(["test"] * 2), ("1", "2"), np.array([0, 0]), np.eye(3)[[0, 1]]
    )
    report = evaluate_classification(data)
    assert report["test", "all", "accuracy"].value == 0.5
    assert report["test", "class:c", "support"].value == 0
    assert Report.from_dict(report.to_dict()).to_dict() == report.to_dict()


def test_predictions_file_round_trip(tmp_path: Path) -> None:
    data = table()
    data.write(tmp_path / "p.csv")
    again = PredictionTable.read(tmp_path / "p.csv", data.classes)
    np.testing.assert_array_equal(again.true, data.true)
    np.testing.assert_allclose(again.probabilities, data.probabilities, rtol=1e-8)
    assert (again.split, again.ids) == (data.split, data.ids)
    before, after = evaluate_classification(data), evaluate_classification(again)
    assert after.values.keys() == before.values.keys()
    for key, value in before.values.items():
        assert after[key].value == pytest.approx(value.value, rel=1e-6)


def test_what_was_done_about_class_sizes_is_kept() -> None:
    found = choose_balance([0] * 30 + [1, 2, 3], [f"class {n}" for n in range(4)])
    report = evaluate_classification(table(), balance=found.to_dict())
    again = Report.from_dict(json.loads(json.dumps(report.to_dict())))
    assert again.tables["balance"]["mode"] == "weights"
    assert again.tables["balance"]["classes"][1]["count"] == 1
    assert "balance" not in evaluate_classification(table()).tables
