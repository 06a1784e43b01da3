"""What was done to pictures on the way to upright 8-bit RGB, counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from opsin.core.finding import Finding, Severity
from opsin.data.checks.scanned import ScannedData, files

_SAYS = {
    "rotated": "turned upright by their EXIF orientation",
    "first_frame": "animated or of several pages: the first frame is used",
    "mode_converted": "converted to 8-bit RGB",
    "exif_unreadable": "with damaged EXIF data, taken as upright",
    "extra_bytes": "with bytes that belong to nothing; a part may be damaged",
}


def check(scanned: ScannedData) -> Iterator[Finding]:
    """`modes` (how many of each), `rotated`, `first_frame`, `mode_converted`, `exif_unreadable`,
    `extra_bytes`.

    The three channels of every picture mean the same after this, so it is information only; but
    frames that are never looked at are worth a warning.
    """
    records, names = scanned.records, scanned.index.rows.names
    modes = Counter(records.mode[row] for row in scanned.usable.tolist())
    if modes:
        yield Finding("info", "modes", _counts(modes))
    found: dict[str, list[str]] = defaultdict(list)
    how: dict[str, Counter[str]] = defaultdict(Counter)
    for row in sorted(records.notes):
        for note in records.notes[row]:
            if note.code in _SAYS:
                found[note.code].append(names[row])
                how[note.code][note.message] += 1
    for code, ids in sorted(found.items()):
        detail = f" ({_counts(how[code])})" if code == "mode_converted" else ""
        severity: Severity = "warning" if code == "first_frame" else "info"
        yield Finding(severity, code, f"{files(len(ids))} {_SAYS[code]}{detail}", tuple(ids))


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counter.most_common())
