"""`opsin export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import opsin
from opsin.cli.show import code_of, say
from opsin.core.progress import choose_progress


def export(
    source: Annotated[str, typer.Argument(help="A run folder, or timm:NAME with --weights.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the bundle is written.")],
    weights: Annotated[
        Path | None, typer.Option("--weights", help="safetensors, with its JSON record beside it.")
    ] = None,
    weights_record: Annotated[
        Path | None, typer.Option("--weights-record", help="That record, where it lies elsewhere.")
    ] = None,
    best: Annotated[
        str | None,
        typer.Option("--best", help="Of a run: the best weights by this metric.", metavar="METRIC"),
    ] = None,
    show_code: Annotated[bool, typer.Option("--show-code", help="Print the Python twin.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Write a bundle: graph with preprocessing inside, weights, labels, golden samples, hashes.

    Exit code 5 when the graph does not give the model's numbers; nothing is written then.
    """
    given = {"weights": weights, "weights_record": weights_record, "best": best}
    named: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if show_code:
        say(code_of("export", source, output, **named))
        return
    bundle = opsin.export(source, output, progress=choose_progress(quiet=quiet), **named)
    parity = bundle.manifest.parity
    if as_json:
        say(json.dumps({"bundle": str(bundle.path), "hash": bundle.hash, "parity": parity}))
        return
    say(f"bundle   {bundle.path}\nhash     {bundle.hash}")
    say(
        f"parity   {parity['pictures']} pictures, largest difference "
        f"{parity['max_difference']:.1e} (limit {parity['limit']:g})"
    )
    say(f"\nnext     opsin verify {bundle.path}\n         opsin serve {bundle.path}")
