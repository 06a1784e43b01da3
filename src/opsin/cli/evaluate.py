"""`opsin evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import opsin
from opsin.cli.show import code_of, report_text, say
from opsin.core.progress import choose_progress
from opsin.core.words import plural


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder (with DATA: or a bundle).")],
    data: Annotated[
        Path | None, typer.Argument(help="New data, one folder per class; else what was saved.")
    ] = None,
    show_code: Annotated[bool, typer.Option("--show-code", help="Print the Python twin.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Accuracy with interval, precision, recall, F1 and support of each class, confusion matrix."""
    if show_code:
        say(code_of("evaluate", run, data))
        return
    report = opsin.evaluate(run, data, progress=choose_progress(quiet=quiet))
    say(json.dumps(report.to_dict()) if as_json else report_text(report))
    skipped = report.settings.get("skipped", [])
    if skipped and not as_json:
        more = ", ..." if len(skipped) > 5 else ""
        say(f"\n{plural(len(skipped), 'file')} could not be used: {', '.join(skipped[:5])}{more}")
