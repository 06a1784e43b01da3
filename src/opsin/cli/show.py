"""How results look on a terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from opsin.core.printable import printable
from opsin.core.words import plural

if TYPE_CHECKING:
    from opsin.api.run_result import RunResult
    from opsin.core.report import Report

SHOWN_CLASSES = 30


def say(text: str) -> None:
    """Print to stdout; what a terminal cannot show is escaped, line by line."""
    typer.echo("\n".join(printable(line) for line in text.split("\n")))


def code_of(verb: str, *positional: Any, **named: Any) -> str:
    """The Python twin of a command.

    >>> print(code_of("train", "photos", epochs=5))
    import opsin
    <BLANKLINE>
    opsin.train("photos", epochs=5)
    """
    return f"import opsin\n\n{call_of(verb, *positional, **named)}"


def call_of(verb: str, *positional: Any, **named: Any) -> str:
    """The call alone."""
    arguments = [_literal(value) for value in positional if value is not None]
    arguments += [f"{name}={_literal(value)}" for name, value in named.items()]
    return f"opsin.{verb}({', '.join(arguments)})"


def _literal(value: Any) -> str:
    if isinstance(value, str | Path):
        return '"' + "".join('\\"' if c == '"' else repr(c)[1:-1] for c in str(value)) + '"'
    return repr(value)


def near_path(path: Path) -> str:
    """The shorter of the absolute path and the one from here.

    >>> near_path(Path.cwd() / "runs" / "a")
    'runs/a'
    """
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def final_block(result: RunResult) -> str:
    """What training ends with: numbers, places, the next command."""
    split = result.split
    accuracy = result.accuracy
    baseline = result.report[split, "all", "baseline_accuracy"]
    path = near_path(result.path)
    lines = [
        "",
        f"{split} accuracy {accuracy}  ({plural(accuracy.count, 'picture')}; "
        f"always saying the commonest class {baseline.value:.3f}); best epoch {result.best_epoch}",
    ]
    if (split, "without_leaks", "accuracy") in result.report:
        clean = result.report[split, "without_leaks", "accuracy"]
        lines.append(f"without pictures that training has seen: {clean} ({clean.count:.0f})")
    if split == "val":
        lines.append(
            "no test pictures were given, so this is the validation set, which chose "
            "the best epoch: read it as an upper bound"
        )
    lines += ["", f"run     {path}"]
    if result.report_html:
        lines.append(f"report  {near_path(result.report_html)}")
    if result.bundle:
        lines.append(f"bundle  {near_path(result.bundle)}")
        lines += ["", f"next    opsin predict {path} PICTURE", f"        opsin serve {path}"]
    return "\n".join(lines)


def report_text(report: Report) -> str:
    """The numbers of a report as tables."""
    classes = list(report.settings["classes"])
    lines: list[str] = []
    for split in report.splits:
        accuracy = report[split, "all", "accuracy"]
        lines += [
            f"{split}: {plural(accuracy.count, 'picture')}",
            f"  accuracy  {accuracy}",
            f"  baseline  {report[split, 'all', 'baseline_accuracy'].value:.3f}"
            "  (always the commonest class)",
            f"  macro F1  {report[split, 'all', 'macro_f1']}",
            f"  log loss  {report[split, 'all', 'log_loss']}",
        ]
        if (split, "without_leaks", "accuracy") in report:
            clean = report[split, "without_leaks", "accuracy"]
            lines.append(f"  accuracy without leaks  {clean} of {clean.count:.0f}")
        lines += ["", *_class_table(report, split, classes), ""]
        if len(classes) <= SHOWN_CLASSES:
            lines += [*_confusion(report, split, classes), ""]
    return "\n".join(lines).rstrip()


def _class_table(report: Report, split: str, classes: list[str]) -> list[str]:
    wide = max(5, *(len(printable(name)) for name in classes))
    lines = [f"  {'class':{wide}}  {'precision':22}  {'recall':22}  {'F1':22}  support"]
    rows = (
        sorted(classes, key=lambda name: report[split, f"class:{name}", "f1"].value)
        if len(classes) > SHOWN_CLASSES
        else classes
    )
    for name in rows[:SHOWN_CLASSES]:
        cells = [report[split, f"class:{name}", m] for m in ("precision", "recall", "f1")]
        support = report[split, f"class:{name}", "support"].value
        row = "  ".join(f"{cell!s:22}" for cell in cells)
        lines.append(f"  {printable(name):{wide}}  {row}  {support:.0f}")
    if len(classes) > SHOWN_CLASSES:
        lines.append(f"  (the {SHOWN_CLASSES} lowest of {len(classes)}; all with --json)")
    return lines


def _confusion(report: Report, split: str, classes: list[str]) -> list[str]:
    table = report.tables[f"confusion/{split}"]
    names = [printable(name)[:12] for name in classes]
    wide = max(6, *(len(name) for name in names))
    cell = max(4, *(len(str(n)) for row in table for n in row), *(len(n) for n in names))
    lines = ["  rows: true, columns: predicted"]
    lines.append("  " + " " * wide + "".join(f"  {name:>{cell}}" for name in names))
    for name, row in zip(names, table, strict=True):
        lines.append(f"  {name:{wide}}" + "".join(f"  {n:>{cell}}" for n in row))
    return lines
