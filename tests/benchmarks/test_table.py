"""What was measured comes back from the file, and the page says it all."""

from __future__ import annotations

from pathlib import Path

import pytest
from table import Line, Row, markdown, read, write


def row(name: str, *lines: Line) -> Row:
    return Row(name, f"Title of {name}", list(lines), ["a note"], "today", "3 rounds", "0.1", 12.0)


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (Line("a", ratio=3.0, target=3.0), "met"),
        (Line("a", ratio=2.99, target=3.0), "missed"),
        (Line("a", ratio=3.5, target=3.0, same_accuracy=True), "met"),
        (Line("a", ratio=3.5, target=3.0, same_accuracy=False), "missed: learns less"),
        (Line("a", ratio=2.5, target=3.0, same_accuracy=False), "missed"),
        (Line("a", ratio=1.1, target=1.1, at_most=True), "met"),
        (Line("a", ratio=1.11, target=1.1, at_most=True), "missed"),
        (Line("a", ratio=3.0), ""),
        (Line("a", target=3.0, failed="not installed"), ""),
    ],
)
def test_a_line_says_whether_it_reached_its_target(line: Line, verdict: str) -> None:
    assert line.verdict == verdict


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = {"a9": row("a9", Line("x", "1 s", "peer", "3 s", 3.0, 2.0, same_accuracy=True))}
    write(rows, tmp_path / "b.json", tmp_path / "b.md")
    assert read(tmp_path / "b.json") == rows
    assert read(tmp_path / "absent.json") == {}


def test_the_page_has_every_line_and_every_reason() -> None:
    page = markdown(
        {
            "a9": row("a9", Line("whole | process", "1 s", "peer", "3 s", 3.0, 2.0)),
            "memory": row("memory", Line("big", beside="itself", failed="not measured: too long")),
        }
    )
    assert "| whole / process | 1 s | peer | 3 s | 3.00 | ≥ 2 | met |  |" in page
    assert "not measured: too long" in page
    assert page.count("- a note") == 2
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {9}
