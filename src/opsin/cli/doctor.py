"""`opsin doctor`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

import opsin
from opsin.cli.show import code_of, say
from opsin.core.words import size


def doctor(
    show_code: Annotated[bool, typer.Option("--show-code", help="Print the Python twin.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Versions, device, memory, disk, settings, and what is not installed."""
    if show_code:
        say(code_of("doctor"))
        return
    found = opsin.doctor()
    if as_json:
        say(json.dumps(found))
        return
    for title, value in found.items():
        say(title)
        for name, entry in value.items() if isinstance(value, dict) else [("", value)]:
            say(f"  {name:16} {_shown(title, name, entry)}")


def _shown(title: str, name: str, value: Any) -> str:
    if title.endswith("_bytes") or name.endswith("_bytes"):
        return size(value)
    return str(value)
