"""One picture filed under two classes: at least one of them is wrong."""

from __future__ import annotations

from collections.abc import Iterator

from opsin.core.finding import Finding
from opsin.data.checks.scanned import ScannedData


def check(scanned: ScannedData) -> Iterator[Finding]:
    """`conflicting_labels`: one finding for each picture, naming all its places."""
    for rows in scanned.same_picture:
        names = sorted({scanned.class_name(row) for row in rows})
        if len(names) > 1:
            yield Finding(
                "error",
                "conflicting_labels",
                "the same picture is filed under " + " and ".join(f'"{name}"' for name in names),
                tuple(row.source_id for row in rows),
                "keep the right one; until then it is left out of every split",
            )
