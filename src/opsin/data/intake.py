"""From a folder to pictures that can be trained on: index, scan, findings, split, pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from opsin.core.config import TrainConfig
from opsin.core.cores import usable_cores
from opsin.core.errors import DataRefused
from opsin.core.finding import Finding, worst_first
from opsin.core.preprocess import PreprocessSpec
from opsin.data.checks.registry import run_checks
from opsin.data.checks.scanned import ScannedData
from opsin.data.formats.registry import FORMATS
from opsin.data.index import Index
from opsin.data.pixel_intake import fill
from opsin.data.pixels import PixelStore
from opsin.data.record import FileRecord
from opsin.data.scan import scan
from opsin.data.splits import Item, Split, split_items

Steps = Callable[[int, int], None]
MOST_WORKERS = 16
"""Beyond it, handing pictures over keeps this process busy."""


@dataclass(frozen=True)
class Intake:
    """Everything that one pass over the data found. `records[i]` belongs to `index.rows[i]`."""

    index: Index
    records: tuple[FileRecord, ...]
    findings: tuple[Finding, ...]

    @cached_property
    def position(self) -> dict[str, int]:
        """Source id to row number."""
        return {row.source_id: number for number, row in enumerate(self.index.rows)}

    @property
    def bad(self) -> list[FileRecord]:
        """The files that cannot be used."""
        return [record for record in self.records if record.error is not None]

    def items(self) -> list[Item]:
        """The usable rows, as splitting wants them."""
        pairs = zip(self.index.rows, self.records, strict=True)
        return [
            Item(row.source_id, row.target, record.pixel_sha256, row.split)
            for row, record in pairs
            if record.error is None
        ]


def read_index(root: Path, *, follow_links: bool = False, min_classes: int = 2) -> Index:
    """What lies in `root`, by its layout. Raises `WrongUsage`, `DataRefused`."""
    index: Index = FORMATS.load("folder")(root, follow_links, min_classes)
    return index


def take_in(
    index: Index,
    *,
    store: PixelStore | None = None,
    workers: int | None = None,
    on_file: Steps | None = None,
    write: bool = True,
) -> Intake:
    """Look at every file once, and keep its prepared pixels in `store` when there is one.

    Files that the store knows are not opened. Of several processes that do the same, one should
    `write` what was decoded for later runs. `workers`: processes that decode, else one a core.
    """
    workers = workers or min(MOST_WORKERS, usable_cores())
    if store is None:
        files = [(row.source_id, row.path) for row in index.rows]
        records = scan(files, progress=on_file, workers=workers)
    else:
        records = fill(store, index.rows, workers=workers, on_file=on_file, write=write)
    findings = worst_first([*index.findings, *run_checks(ScannedData(index, records))])
    return Intake(index, tuple(records), tuple(findings))


def pixel_store(
    index: Index, spec: PreprocessSpec, *, budget_bytes: int, cache: Path | None = None
) -> PixelStore:
    """A store for the rows of `index`, nothing in it yet; see `PixelStore`."""
    paths = [row.path for row in index.rows]
    return PixelStore(paths, spec, budget_bytes=budget_bytes, cache=cache)


def refuse_bad(intake: Intake, max_bad_frac: float) -> None:
    """Raise `DataRefused` when more than `max_bad_frac` of the files cannot be used."""
    bad = intake.bad
    if len(bad) <= max_bad_frac * len(intake.records):
        return
    kinds = Counter(record.error for record in bad)
    listed = ", ".join(f"{count} {code}" for code, count in kinds.most_common())
    raise DataRefused(
        f"{len(bad)} of {len(intake.records)} files cannot be used ({listed}); "
        f"at most {max_bad_frac:.0%} are allowed",
        code="too_many_bad_files",
        where=str(intake.index.root),
        fix=f"look at them with: opsin check {intake.index.root}; "
        "or allow more with --max-bad-frac",
    )


def refuse_leaks(intake: Intake) -> None:
    """Raise `DataRefused` when the same picture lies in two of the given splits."""
    leaks = [finding for finding in intake.findings if finding.code == "leak"]
    if leaks:
        raise DataRefused(
            leaks[0].message,
            code="leak",
            where=str(intake.index.root),
            fix=leaks[0].fix or "take the doubles out, or train without --strict",
        )


def changed_since_scan(intake: Intake, ids: Iterable[str]) -> Finding | None:
    """What became of the files that were used: those whose size or time is another now, or that
    are gone. Their pixels were read before, so the numbers stand; the data no longer does.
    """
    changed = []
    for source_id in ids:
        record = intake.records[intake.position[source_id]]
        try:
            status = record.path.stat()
        except OSError:
            changed.append(source_id)
            continue
        if (status.st_size, status.st_mtime_ns) != (record.size_bytes, record.mtime_ns):
            changed.append(source_id)
    if not changed:
        return None
    return Finding(
        "warning",
        "changed_since_scan",
        f"{len(changed)} file{'s' * (len(changed) != 1)} changed or gone since they were read: "
        "this run cannot be reproduced from the folder as it is now",
        tuple(changed),
        "restore the files, or train again on what is there",
    )


def draw_split(intake: Intake, config: TrainConfig) -> Split:
    """The split of an intake; see `opsin.data.splits`. Raises `DataRefused`."""
    return split_items(
        intake.items(),
        intake.index.classes,
        seed=config.seed,
        val_frac=config.val_frac,
        test_frac=config.test_frac,
    )


def split_names(split: Split) -> Mapping[str, str]:
    """Source id to the name of its split."""
    return {source_id: name for name, ids in split.splits.items() for source_id in ids}
