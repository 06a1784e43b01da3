"""`opsin doctor`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

import opsin
from opsin.cli.show import say


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Versions, device, memory, disk, settings, and what is not installed."""
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
        return f"{value / 1e9:.1f} GB"
    return str(value)
