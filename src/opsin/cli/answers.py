"""How the answers of `opsin predict` are printed, those of refused pictures among them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from opsin.cli.faults import explain
from opsin.cli.show import say
from opsin.core.printable import printable

if TYPE_CHECKING:
    from opsin.api.predict import Answer


def say_lines(found: list[Answer], names: list[str], top: int) -> bool:
    """A line each; faults go to stderr. True when a picture was refused."""
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


def say_json(found: list[Answer], names: list[str], top: int) -> bool:
    """One JSON object. True when a picture was refused."""
    from opsin.bundle.predict_files import Refused

    rows: list[dict[str, Any]] = []
    for name, answer in zip(names, found, strict=True):
        if isinstance(answer, Refused):
            answer.error.where = name
            rows.append({"source": name, **answer.error.to_dict()})
        else:
            rows.append(answer.to_dict(top) | {"source": name})
    say(json.dumps({"predictions": rows}))
    return any("error" in row for row in rows)
