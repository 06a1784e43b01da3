"""Pictures so small that there is little to see."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from opsin.core.finding import Finding
from opsin.data.checks.scanned import ScannedData, files

MIN_SIDE_PX = 32


def check(scanned: ScannedData) -> Iterator[Finding]:
    """`tiny`: one finding naming all pictures with a side under 32 px."""
    records, usable = scanned.records, scanned.usable
    side = np.minimum(records.width_px, records.height_px)[usable]
    ids = scanned.index.rows.names.pick(usable[side < MIN_SIDE_PX])
    if ids:
        yield Finding("info", "tiny", f"{files(len(ids))} with a side under {MIN_SIDE_PX} px", ids)
