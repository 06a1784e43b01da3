"""What was measured, kept as JSON beside the table that it becomes in `docs/benchmarks.md`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Line:
    """One figure of ours beside one of somebody else's.

    `ratio`: how many times better ours is; `target`: what it must be at least (with `at_most`, at
    most). `failed`: why there is no figure.
    """

    figure: str
    ours: str = ""
    beside: str = ""
    theirs: str = ""
    ratio: float | None = None
    target: float | None = None
    at_most: bool = False
    accuracy: str = ""
    same_accuracy: bool | None = None
    failed: str = ""

    @property
    def verdict(self) -> str:
        """met, missed, or nothing where there is no target or no figure.

        >>> Line("a", ratio=3.1, target=3).verdict, Line("a", ratio=2.9, target=3).verdict
        ('met', 'missed')
        >>> Line("a", ratio=3.1, target=3, same_accuracy=False).verdict
        'missed: learns less'
        >>> Line("a", ratio=1.2, target=1.1, at_most=True).verdict
        'missed'
        """
        if self.target is None or self.ratio is None:
            return ""
        good = self.ratio <= self.target if self.at_most else self.ratio >= self.target
        if good and self.same_accuracy is False:
            return "missed: learns less"
        return "met" if good else "missed"


@dataclass
class Row:
    """All lines of one row of the table, with what a reader must know of it."""

    name: str
    title: str
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    measured: str = ""
    rounds: str = ""
    load: str = ""
    took_s: float = 0.0
    machine: dict[str, str] = field(default_factory=dict)


def read(path: Path) -> dict[str, Row]:
    """The rows measured before, by name; none where there is no file."""
    if not path.is_file():
        return {}
    return {name: row_from(values) for name, values in json.loads(path.read_text("utf-8")).items()}


def row_from(values: dict[str, Any]) -> Row:
    """A `Row` from its JSON."""
    return Row(**{**values, "lines": [Line(**line) for line in values["lines"]]})


def write(rows: dict[str, Row], results: Path, page: Path) -> None:
    """The JSON, and the page made of it."""
    text = json.dumps({name: asdict(row) for name, row in rows.items()}, indent=1)
    results.write_text(text + "\n", "utf-8")
    page.write_text(markdown(rows), "utf-8")


def markdown(rows: dict[str, Row]) -> str:
    """The page: machine, one table, notes by row."""
    machines = {json.dumps(row.machine, sort_keys=True): row.machine for row in rows.values()}
    parts = [
        "# Beside the loops people write",
        "",
        "Written by `make bench-peers` (`benchmarks/peers.py`); do not edit. Each ratio comes from "
        "one run in which ours and theirs took turns; figures are medians. How, and on what terms: "
        "[benchmarks](../benchmarks/README.md). What is missed, and why: [speed](speed.md#missed).",
        "",
        *(
            f"Machine: {', '.join(f'{k} {v}' for k, v in one.items())}."
            for one in machines.values()
        ),
        "",
        "| figure | ours | beside | theirs | ratio | to reach | | accuracy, ours / theirs |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows.values():
        parts.append(f"| **{row.title}** | | | | | | | |")
        parts += [_cells(line) for line in row.lines]
    for row in rows.values():
        parts += ["", f"## {row.title}", ""]
        parts.append(
            f"Row `{row.name}`, measured {row.measured}, {row.rounds}, "
            f"load before {row.load}, took {row.took_s:.0f} s."
        )
        parts += ["", *(note if note.startswith("![") else f"- {note}" for note in row.notes)]
    return "\n".join(parts).rstrip() + "\n"


def show(row: Row) -> str:
    """A row for the terminal."""
    lines = [row.title]
    for line in row.lines:
        found = line.failed or f"{line.ours:>14} {line.beside:>28} {line.theirs:>14}"
        ratio = "" if line.ratio is None else f"{line.ratio:6.2f} x"
        lines.append(f"  {line.figure:44} {found} {ratio} {line.verdict} {line.accuracy}".rstrip())
    return "\n".join(lines + [f"  - {note}" for note in row.notes])


def _cells(line: Line) -> str:
    ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
    sign = "≤" if line.at_most else "≥"
    target = "" if line.target is None else f"{sign} {line.target:g}"
    theirs = line.failed or line.theirs
    cells = (line.figure, line.ours, line.beside, theirs, ratio, target, line.verdict)
    return "| " + " | ".join(text.replace("|", "/") for text in (*cells, line.accuracy)) + " |"
