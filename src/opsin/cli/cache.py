"""`opsin cache`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

import opsin
from opsin.cli.show import code_of, say
from opsin.core.printable import printable
from opsin.core.words import plural, size

if TYPE_CHECKING:
    from opsin.api.cache import Kept


def cache(
    clear: Annotated[
        str | None, typer.Option(help="Delete pixels, features, machine, or all.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(help="Only what was not used for so long: 12h, 30d.")
    ] = None,
    show_code: Annotated[bool, typer.Option("--show-code", help="Print the Python twin.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """List or clear what is kept for later runs: pixels, features, settings of the machine."""
    if show_code:
        given = {"clear": clear, "older_than": older_than}
        say(code_of("cache", **{name: value for name, value in given.items() if value}))
        return
    result = opsin.cache(clear=clear, older_than=older_than)
    if as_json:
        say(json.dumps(result.to_dict()))
        return
    for entry in result.cleared:
        say(f"cleared  {_line(entry)}")
    for entry in result.kept:
        say(_line(entry))
    say(f"{size(result.size_bytes)} in {printable(str(result.folder))}")
    if result.kept and clear is None:
        say("to clear: opsin cache --clear all, or one kind; --older-than 30d spares the rest")


def _line(entry: Kept) -> str:
    count = plural(entry.pictures, "picture") if entry.pictures else plural(entry.files, "file")
    days = max(0.0, time.time() - entry.last_used) / 86400
    used = "today" if days < 1 else f"{plural(int(days), 'day')} ago"
    return (
        f"{entry.kind:9} {size(entry.size_bytes):>9}  {count:16} "
        f"last used {used:12}  {printable(entry.holds)}"
    )
