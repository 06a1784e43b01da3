"""`opsin predict`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from opsin.cli.answers import say_json, say_lines
from opsin.cli.show import call_of, say
from opsin.core.errors import WrongUsage
from opsin.core.progress import choose_progress


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
        if "-" in paths:
            raise WrongUsage(
                "bytes on stdin have no twin: opsin.predict takes files and folders",
                where="-",
                fix="write the bytes to a file and name it",
            )
        call = call_of("predict", run, *paths)
        shown = call if top == 1 else f"[answer.top({top}) for answer in {call}]"
        say(f"import opsin\n\n{shown}")
        return
    from opsin.api.predict import answers

    with tempfile.TemporaryDirectory(prefix="opsin-") as folder:
        stdin = Path(folder, "stdin")
        if "-" in paths:
            _keep(sys.stdin.buffer, stdin)
        real = [stdin if path == "-" else Path(path) for path in paths]
        found = answers(run, real, progress=choose_progress(quiet=quiet))
        names = ["-" if answer.source_id == str(stdin) else answer.source_id for answer in found]
    refused = (say_json if as_json else say_lines)(found, names, top)
    raise typer.Exit(3 if refused else 0)


def _keep(stream: BinaryIO, path: Path) -> None:
    """Write a stream to a file, up to what shows that it is too large for a picture."""
    from opsin.data.decode import MAX_FILE_BYTES

    left = MAX_FILE_BYTES + 1
    with path.open("wb") as file:
        while left and (piece := stream.read(min(left, 1 << 20))):
            file.write(piece)
            left -= len(piece)
