"""How large the pictures are, and how different from each other."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from opsin.core.finding import Finding
from opsin.data.checks.scanned import ScannedData


def check(scanned: ScannedData) -> Iterator[Finding]:
    """`sizes`: smallest, median and largest picture, and the range of shapes."""
    sizes = sorted(
        ((record.width_px, record.height_px) for _, record in scanned.usable),
        key=lambda size: (size[0] * size[1], size),
    )
    if not sizes:
        return
    (low_w, low_h), (high_w, high_h) = sizes[0], sizes[-1]
    if len(set(sizes)) == 1:
        yield Finding("info", "sizes", f"all pictures are {low_w}×{low_h} px")
        return
    middle = f"{median(w for w, _ in sizes):.0f}×{median(h for _, h in sizes):.0f}"
    shapes = [width / height for width, height in sizes]
    yield Finding(
        "info",
        "sizes",
        f"{low_w}×{low_h} to {high_w}×{high_h} px, median {middle}; "
        f"width / height from {min(shapes):.2f} to {max(shapes):.2f}",
    )
