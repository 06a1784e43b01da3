"""`Finding`: one thing that was noticed about data or a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """Severity, what, where, how to fix.

    `code` is stable (`truncated`), `where` lists the files or rows concerned (source ids).
    `error`: the picture cannot be used as it is; `warning`: look at it; `info`: said, no more.

    >>> Finding("warning", "tiny", "2 pictures under 16 px", ("a.png", "b.png")).severity
    'warning'
    """

    severity: Severity
    code: str
    message: str
    where: Sequence[str] = ()
    fix: str = ""

    def to_dict(self) -> dict[str, object]:
        """As a JSON object."""
        return {
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "where": list(self.where),
            "fix": self.fix,
        }


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, then warnings, then information; else in the order they came."""
    order = ("error", "warning", "info")
    return sorted(findings, key=lambda finding: order.index(finding.severity))
