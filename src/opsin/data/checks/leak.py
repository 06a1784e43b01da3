"""The same picture on both sides of a split that the data itself gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations

from opsin.core.finding import Finding
from opsin.data.checks.scanned import ScannedData

_FULL = {"val": "validation", "test": "test"}


def check(scanned: ScannedData) -> Iterator[Finding]:
    """`leak`: "81 pairs (40.3 % of validation)", the later split's pictures in `where`.

    A pair is one file of each side; the percentage is of the later split's usable pictures.
    """
    splits = scanned.index.rows.splits
    sizes = Counter(splits[row] for row in scanned.usable.tolist())
    for first, second in combinations(scanned.splits, 2):
        pairs, leaked = 0, []
        for rows in scanned.same_picture:
            before = sum(row.split == first for row in rows)
            after = [row.source_id for row in rows if row.split == second]
            if before and after:
                pairs += before * len(after)
                leaked += after
        if pairs:
            share = 100 * len(leaked) / sizes[second]
            between = "" if first == "train" else f", also in {_FULL[first]}"
            yield Finding(
                "warning",
                "leak",
                f"{pairs:,} pair{'s' * (pairs != 1)} ({share:.1f} % of {_FULL[second]}{between})",
                tuple(sorted(leaked)),
                f"numbers on {_FULL[second]} are too good; a second one is given without these",
            )
