"""The curves mark what they must, and read from a history what is in it."""

from __future__ import annotations

import re

from opsin.report.plots import Best, best_epoch, learning_curve
from opsin.report.read import EpochRow


def history(losses: list[float | None], stages: str = "") -> list[EpochRow]:
    return [
        EpochRow(
            i + 1, stages[i : i + 1], 0.1, 1.0, 0.5, loss, None if loss is None else 1 - loss, 1
        )
        for i, loss in enumerate(losses)
    ]


def test_best_epoch_follows_the_monitor() -> None:
    rows = history([0.5, 0.2, None, 0.2, 0.9])
    assert best_epoch(rows, "val_loss") == Best(1, "val_loss", 0.2)
    assert best_epoch(rows, "accuracy") == Best(1, "val_accuracy", 0.8)
    assert best_epoch(rows, "") == Best(1, "val_loss", 0.2)
    assert best_epoch(history([None]), "val_loss") is None
    assert best_epoch([], "val_loss") is None


def test_curve_marks_best_epoch_stages_and_baseline() -> None:
    plain = learning_curve(history([0.5, 0.4, 0.3], "aaa"), "loss")
    assert plain.count("var(--train)") == 1
    assert plain.count("var(--val)") == 1
    assert ">a<" not in plain
    rows = history([0.5, 0.2, 0.3], "abb")
    marked = learning_curve(rows, "loss", best=best_epoch(rows, "val_loss"), baseline=0.4)
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
    odd = [rows[0], EpochRow(2, "<b>$\\frac{\U0001f431", 0.1, 1, 1, 1, 1, 1)]
    svg = learning_curve(odd, "loss")
    assert "&lt;b&gt;$\\frac{?" in svg
