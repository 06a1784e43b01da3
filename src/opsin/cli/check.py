"""`opsin check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import opsin
from opsin.cli.show import code_of, say
from opsin.core.printable import printable
from opsin.core.progress import choose_progress

SHOWN = 8
MARKS = {"error": "✗", "warning": "!", "info": "·"}


def check(
    data: Annotated[Path, typer.Argument(help="Folder of pictures, one folder per class.")],
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Follow links that leave the folder.")
    ] = False,
    show_code: Annotated[bool, typer.Option("--show-code", help="Print the Python twin.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Decode every file once and say what is wrong with the data; changes nothing.

    Exit code 0: nothing to mend; 1: something was found.
    """
    if show_code:
        say(code_of("check", data, **({"follow_links": True} if follow_links else {})))
        return
    result = opsin.check(data, follow_links=follow_links, progress=choose_progress(quiet=quiet))
    if as_json:
        say(json.dumps(result.to_dict()))
    else:
        say(f"{data}: {result.files} files, {result.usable} usable")
        for name, count in result.classes.items():
            say(f"  {printable(name):24} {count:>7}")
        for what, counts in (("formats", result.formats), ("modes", result.modes)):
            say(f"{what}  " + ", ".join(f"{name} {count}" for name, count in counts.items()))
        for side, values in result.sizes_px.items():
            if values:
                say(f"{side}  {values[0]} to {values[2]} px, median {values[1]}")
        say("")
        for finding in result.findings:
            say(f"{MARKS[finding.severity]} {finding.code}: {printable(finding.message)}")
            for where in finding.where[:SHOWN]:
                say(f"    {printable(where)}")
            if len(finding.where) > SHOWN:
                say(f"    and {len(finding.where) - SHOWN} more (all with --json)")
            if finding.fix and finding.severity != "info":
                say(f"    to do: {finding.fix}")
        say("nothing to mend" if result.ok else f"\nnext    opsin train {data}")
    raise typer.Exit(0 if result.ok else 1)
