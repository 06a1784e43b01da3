"""Classes of very different size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from opsin.core.finding import Finding
from opsin.data.checks.scanned import ScannedData

MAX_RATIO = 10


def check(scanned: ScannedData) -> Iterator[Finding]:
    """`imbalance`: the largest class has more than ten times the pictures of the smallest."""
    counts = Counter(scanned.index.classes[target] for target in scanned.targets.tolist())
    if not counts:
        return
    ranked = counts.most_common()
    (largest, most), (smallest, fewest) = ranked[0], ranked[-1]
    if most > MAX_RATIO * fewest:
        yield Finding(
            "warning",
            "imbalance",
            f'{most / fewest:.1f} : 1, "{largest}" has {most:,} pictures, "{smallest}" {fewest:,}; '
            "accuracy alone will flatter, look at macro-F1",
            tuple(name for name, _ in ranked),
            f'add pictures of "{smallest}"; opsin train weights the classes by itself, '
            "--balance sampling draws the rare ones more often",
        )
