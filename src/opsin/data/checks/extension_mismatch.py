"""Files whose name promises another format than their content."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from opsin.core.finding import Finding
from opsin.data.checks.scanned import ScannedData, files


def check(scanned: ScannedData) -> Iterator[Finding]:
    """`extension_mismatch`: one finding for each format found; the files are used."""
    found = defaultdict(list)
    records = scanned.records
    for row in sorted(records.notes):
        if any(note.code == "extension_mismatch" for note in records.notes[row]):
            found[records.format[row]].append(scanned.index.rows.names[row])
    for format_, ids in sorted(found.items()):
        yield Finding(
            "warning",
            "extension_mismatch",
            f"looks like {format_}: {files(len(ids))}, used as such",
            tuple(ids),
            "rename, so that other programs read them too",
        )
