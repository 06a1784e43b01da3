"""Files that cannot be decoded: one finding each, its code the reason."""

from __future__ import annotations

from collections.abc import Iterator

from opsin.core.finding import Finding
from opsin.data.checks.scanned import ScannedData

_FIX = {
    "permission_denied": "run as a user who can read it",
    "unsupported_format": "convert it, or take it out",
    "too_many_pixels": "scale it down, or take it out",
    "too_small": "take it out",
}


def check(scanned: ScannedData) -> Iterator[Finding]:
    """`empty_file`, `truncated`, `unsupported_format` and so on, as in `Undecodable`."""
    for row in scanned.records.unusable.tolist():
        record = scanned.records[row]
        assert record.error
        fix = _FIX.get(record.error, "copy or download it again, or take it out")
        where = (record.source_id,)
        yield Finding("error", record.error, record.error_message, where, fix)
