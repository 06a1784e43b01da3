"""How large the pictures are, and how different from each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from opsin.core.finding import Finding
from opsin.data.checks.scanned import ScannedData


def check(scanned: ScannedData) -> Iterator[Finding]:
    """`sizes`: smallest, median and largest picture, and the range of shapes."""
    records, usable = scanned.records, scanned.usable
    if not len(usable):
        return
    width = records.width_px[usable].astype(np.int64)
    height = records.height_px[usable].astype(np.int64)
    order = np.lexsort((height, width, width * height))
    low_w, low_h, high_w, high_h = (each[order[end]] for end in (0, -1) for each in (width, height))
    shapes = width / height
    if (low_w, low_h) == (high_w, high_h):
        yield Finding("info", "sizes", f"all pictures are {low_w}×{low_h} px")
        return
    middle = f"{np.median(width):.0f}×{np.median(height):.0f}"
    yield Finding(
        "info",
        "sizes",
        f"{low_w}×{low_h} to {high_w}×{high_h} px, median {middle}; "
        f"width / height from {shapes.min():.2f} to {shapes.max():.2f}",
    )
