"""The checks of data: name -> function (`ScannedData`) -> findings; and the one that runs all."""

from __future__ import annotations

from opsin.core.finding import Finding, worst_first
from opsin.core.registry import Registry
from opsin.data.checks.scanned import ScannedData

CHECKS = Registry(
    "check",
    [
        ("unreadable", "opsin.data.checks.unreadable:check"),
        ("conflicting_labels", "opsin.data.checks.conflicting_labels:check"),
        ("class_size", "opsin.data.checks.class_size:check"),
        ("leak", "opsin.data.checks.leak:check"),
        ("duplicates", "opsin.data.checks.duplicates:check"),
        ("imbalance", "opsin.data.checks.imbalance:check"),
        ("extension_mismatch", "opsin.data.checks.extension_mismatch:check"),
        ("tiny", "opsin.data.checks.tiny:check"),
        ("converted", "opsin.data.checks.converted:check"),
        ("sizes", "opsin.data.checks.sizes:check"),
    ],
)


def run_checks(scanned: ScannedData) -> list[Finding]:
    """What every check says: errors first, then warnings, then information.

    The findings of the index itself are not repeated here.
    """
    return worst_first(finding for name in CHECKS for finding in CHECKS.load(name)(scanned))
