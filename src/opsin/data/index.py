"""`Index`: which files there are and what each is said to be; made by a format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from opsin.core.finding import Finding


@dataclass(frozen=True, slots=True)
class Row:
    """One picture. `source_id`: its name in every file that Opsin writes; `target`: the index of
    its class; `split`: "train", "val", "test" as the data says it, or None.
    """

    source_id: str
    path: Path
    target: int
    split: str | None


@dataclass
class Index:
    """All rows of a data set, in an order that does not depend on the file system.

    `findings`: what the format noticed, such as dangling links or ignored files.
    """

    root: Path
    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]
