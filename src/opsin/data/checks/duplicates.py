"""The same picture several times in one class (and one split)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from opsin.core.finding import Finding
from opsin.data.checks.scanned import ScannedData


def check(scanned: ScannedData) -> Iterator[Finding]:
    """`duplicate`: one finding for each picture, naming its files; equal pixels count, not equal
    bytes. Copies in other classes or splits are the business of other checks.
    """
    for rows in scanned.same_picture:
        places = defaultdict(list)
        for row in rows:
            places[row.target, row.split].append(row.source_id)
        for (target, _), ids in places.items():
            if len(ids) > 1:
                yield Finding(
                    "warning",
                    "duplicate",
                    f'{len(ids)} files show the same picture of "{scanned.index.classes[target]}"',
                    tuple(ids),
                    "keep one; until then all of them stay on one side of the split",
                )
