"""The curves mark what they must, and read from a history what is in it."""

from __future__ import annotations

import re
from pathlib import Path

from opsin.report.plots import learning_curve
from opsin.training.history import EpochRecord, History
from opsin.training.monitor import Monitor


def history(losses: list[float | None], stages: str = "") -> list[EpochRecord]:
    return [
        EpochRecord(
            i + 1,
            stages[i : i + 1],
            0.1,
            {"train_loss": 1.0, "train_accuracy": 0.5}
            | ({} if loss is None else {"val_loss": loss, "val_accuracy": round(1 - loss, 3)}),
            1,
        )
        for i, loss in enumerate(losses)
    ]


def test_the_best_epoch_is_found_among_gaps(tmp_path: Path) -> None:
    records = history([0.5, 0.2, None, 0.2, 0.9])
    History(Monitor("val_loss"), records).write(tmp_path / "history.csv")
    for monitor in ("val_loss", "val_accuracy"):
        read = History.read(Monitor(monitor), tmp_path / "history.csv")
        assert read.records == records
        assert read.best == records[1]
    assert History(Monitor("val_loss"), history([None])).best is None
    assert History(Monitor("val_loss")).best is None


def test_curve_marks_best_epoch_stages_and_baseline() -> None:
    plain = learning_curve(history([0.5, 0.4, 0.3], "aaa"), "loss")
    assert plain.count("var(--train)") == 1
    assert plain.count("var(--val)") == 1
    assert ">a<" not in plain
    rows = history([0.5, 0.2, 0.3], "abb")
    marked = learning_curve(rows, "loss", best=rows[1], baseline=0.4)
    assert marked.count("var(--val)") > 1  # the dot
    assert ">a<" in marked
    assert ">b<" in marked
    lines = re.compile(r'clip-path="[^"]*" style="[^"]*var\(--quiet\)[^"]*"')
    assert len(lines.findall(plain)) == 0
    assert len(lines.findall(marked)) == 2  # the best epoch and the baseline


def test_gaps_single_epochs_and_repeated_numbers_are_drawn() -> None:
    assert "<svg" in learning_curve(history([None, None]), "loss")
    assert "var(--val)" in learning_curve(history([0.5]), "accuracy")
    again = [*history([0.5, 0.4]), *history([0.3, 0.2])]
    svg = learning_curve(again, "loss")
    assert re.findall(r">(\d)</text>", svg)[-1] == "4"  # counted on, not drawn over each other


def test_stage_names_are_text_and_nothing_else() -> None:
    rows = history([0.5, 0.4], "aa")
    odd = [rows[0], EpochRecord(2, "<b>$\\frac{\U0001f431", 0.1, rows[1].values, 1)]
    svg = learning_curve(odd, "loss")
    assert "&lt;b&gt;$\\frac{?" in svg
