"""`opsin verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import opsin
from opsin.cli.show import code_of, say


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or a run that has one.")],
    show_code: Annotated[bool, typer.Option("--show-code", help="Print the Python twin.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Check every file's SHA-256 and replay the golden samples.

    Exit code 4: damaged or hostile; 5: whole, but other answers on this machine.
    """
    if show_code:
        say(code_of("verify", bundle))
        return
    result = opsin.verify(bundle)
    if as_json:
        say(json.dumps(result.to_dict()))
        return
    say(
        f"{result.path}: {result.files} files whole; {result.golden} golden samples, largest "
        f"difference {result.max_difference:.1e}\nhash  {result.hash}"
    )
