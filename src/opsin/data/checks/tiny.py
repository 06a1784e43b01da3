"""Pictures so small that there is little to see."""

from __future__ import annotations

from collections.abc import Iterator

from opsin.core.finding import Finding
from opsin.data.checks.scanned import ScannedData, files

MIN_SIDE_PX = 32


def check(scanned: ScannedData) -> Iterator[Finding]:
    """`tiny`: one finding naming all pictures with a side under 32 px."""
    ids = tuple(
        record.source_id
        for _, record in scanned.usable
        if min(record.width_px, record.height_px) < MIN_SIDE_PX
    )
    if ids:
        yield Finding("info", "tiny", f"{files(len(ids))} with a side under {MIN_SIDE_PX} px", ids)
