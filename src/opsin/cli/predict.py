"""`opsin predict`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsin.cli.faults import explain, printable
from opsin.cli.show import code_of, say
from opsin.core.progress import choose_progress

if TYPE_CHECKING:
    from opsin.api.predict import Answer


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder or a bundle.", metavar="RUN_OR_BUNDLE")],
    paths: Annotated[list[str], typer.Argument(help="Pictures, folders, or - for bytes on stdin.")],
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to show.")] = 1,
    show_code: Annotated[bool, typer.Option("--show-code", help="Print the Python twin.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Label and probability of each picture, by onnxruntime.

    Exit code 3 when a picture could not be used; the others are answered all the same.
    """
    if show_code:
        say(code_of("predict", run, *paths))
        return
    from opsin.api.predict import answers

    with tempfile.TemporaryDirectory(prefix="opsin-") as folder:
        stdin = Path(folder, "stdin")
        if "-" in paths:
            stdin.write_bytes(sys.stdin.buffer.read())
        real = [stdin if path == "-" else Path(path) for path in paths]
        found = answers(run, real, progress=choose_progress(quiet=quiet))
        names = ["-" if answer.source_id == str(stdin) else answer.source_id for answer in found]
    refused = _show_json(found, names, top) if as_json else _show(found, names, top)
    raise typer.Exit(3 if refused else 0)


def _show(found: list[Answer], names: list[str], top: int) -> bool:
    from opsin.bundle.predict_files import Refused

    refused = False
    shown = [printable(name) for name in names]
    wide = min(60, max(len(name) for name in shown))
    for name, answer in zip(shown, found, strict=True):
        if isinstance(answer, Refused):
            answer.error.where = name
            explain(answer.error, as_json=False)
            refused = True
            continue
        best = "  ".join(f"{printable(label)} {value:.3f}" for label, value in answer.top(top))
        notes = f"  ({'; '.join(answer.notes)})" if answer.notes else ""
        say(f"{name:{wide}}  {best}{notes}")
    return refused


def _show_json(found: list[Answer], names: list[str], top: int) -> bool:
    from opsin.bundle.predict_files import Refused

    rows: list[dict[str, Any]] = []
    for name, answer in zip(names, found, strict=True):
        if isinstance(answer, Refused):
            rows.append({"source": name, **answer.error.to_dict()})
        else:
            rows.append(answer.to_dict(max(top, 1)) | {"source": name})
    say(json.dumps({"predictions": rows}))
    return any("error" in row for row in rows)
