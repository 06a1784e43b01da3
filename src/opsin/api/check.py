"""`opsin check`: what is wrong with the data, before it costs anything."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from opsin.core.columns import Codes, Numbers
from opsin.core.finding import Finding
from opsin.core.progress import Progress, choose_progress
from opsin.data.intake import Intake, read_index, take_in


@dataclass(frozen=True)
class CheckResult:
    """`findings`, errors first; `classes` name to usable pictures; what files there are."""

    root: Path
    files: int
    usable: int
    classes: dict[str, int]
    formats: dict[str, int]
    modes: dict[str, int]
    sizes_px: dict[str, list[int]]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True when nothing but information was found."""
        return all(finding.severity == "info" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "data": str(self.root),
            "ok": self.ok,
            "files": self.files,
            "usable": self.usable,
            "classes": self.classes,
            "formats": self.formats,
            "modes": self.modes,
            "sizes_px": self.sizes_px,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def check(
    data: str | Path,
    *,
    follow_links: bool = False,
    progress: Progress | None = None,
) -> CheckResult:
    """Decode every file of `data` once and say what is wrong; changes nothing.

    Raises `WrongUsage` and `DataRefused` when there is no data set at all.
    """
    progress = progress or choose_progress()
    index = read_index(Path(data), follow_links=follow_links)
    try:
        intake = take_in(index, on_file=lambda done, total: progress.step("check", done, total))
    finally:
        progress.close()
    return summarise(intake)


def summarise(intake: Intake) -> CheckResult:
    """The counts of an intake."""
    records, usable = intake.records, intake.records.usable
    targets = Counter(intake.index.rows.targets[usable].tolist())
    widths = sorted(records.width_px[usable].tolist())
    heights = sorted(records.height_px[usable].tolist())
    return CheckResult(
        root=intake.index.root,
        files=len(records),
        usable=len(usable),
        classes={name: targets[number] for number, name in enumerate(intake.index.classes)},
        formats=_counts(records.format, usable),
        modes=_counts(records.mode, usable),
        sizes_px={"width": _spread(widths), "height": _spread(heights)},
        # What is handed out is plain: a finding may name its files by columns of the intake.
        findings=tuple(replace(each, where=tuple(each.where)) for each in intake.findings),
    )


def _counts(column: Codes, rows: Numbers) -> dict[str, int]:
    return dict(Counter(column[row] for row in rows.tolist()).most_common())


def _spread(values: list[int]) -> list[int]:
    """Smallest, median, largest."""
    return [values[0], values[len(values) // 2], values[-1]] if values else []
