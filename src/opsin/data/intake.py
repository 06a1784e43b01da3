"""From a folder to pictures that can be trained on: index, scan, findings, split, pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from opsin.core.allocator import trim
from opsin.core.columns import Numbers
from opsin.core.config import TrainConfig
from opsin.core.cores import usable_cores
from opsin.core.errors import DataRefused
from opsin.core.files import size_and_time
from opsin.core.finding import Finding, worst_first
from opsin.core.preprocess import PreprocessSpec
from opsin.data.checks.registry import run_checks
from opsin.data.checks.scanned import ScannedData
from opsin.data.formats.registry import FORMATS
from opsin.data.index import Index
from opsin.data.pixel_intake import fill
from opsin.data.pixels import PixelStore
from opsin.data.record import FileRecord, Records
from opsin.data.scan import Chosen, look_at
from opsin.data.splits import Split, split_rows

Steps = Callable[[int, int], None]
MOST_WORKERS = 16
"""Beyond it, handing pictures over keeps this process busy."""


@dataclass(frozen=True)
class Intake:
    """Everything that one pass over the data found. `records[i]` belongs to `index.rows[i]`."""

    index: Index
    records: Records
    findings: tuple[Finding, ...]

    def rows_of(self, ids: Sequence[str]) -> Numbers:
        """The row number of each source id. Raises `KeyError`."""
        return self.index.rows.names.find(ids)

    @property
    def bad(self) -> list[FileRecord]:
        """The files that cannot be used."""
        return [self.records[row] for row in self.records.unusable.tolist()]


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
    trim()  # of what listing the files has left
    if store is None:
        records = _look(index, workers, on_file)
    else:
        records = fill(store, index.rows, workers=workers, on_file=on_file, write=write)
    findings = worst_first([*index.findings, *run_checks(ScannedData(index, records))])
    return Intake(index, records, tuple(findings))


def _look(index: Index, workers: int, on_file: Steps | None) -> Records:
    records = Records(index.rows)
    done = 0

    def on_look(row: int, record: FileRecord, _: object) -> None:
        nonlocal done
        records[row] = record
        done += 1
        if on_file:
            on_file(done, len(records))

    look_at(Chosen(index.rows, range(len(records))), on_look, workers=workers)
    return records


def pixel_store(
    index: Index, spec: PreprocessSpec, *, budget_bytes: int, cache: Path | None = None
) -> PixelStore:
    """A store for the rows of `index`, nothing in it yet; see `PixelStore`."""
    return PixelStore(index.rows.paths, spec, budget_bytes=budget_bytes, cache=cache)


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


def changed_since_scan(intake: Intake, split: Split) -> Finding | None:
    """What became of the files that were used: those whose size or time is another now, or that
    are gone. Their pixels were read before, so the numbers stand; the data no longer does.
    """
    records, paths, changed = intake.records, intake.index.rows.paths, []
    for row in np.concatenate([intake.rows_of(ids) for ids in split.splits.values()]).tolist():
        try:
            status = paths[row].stat()
            then = (records.size_bytes[row], records.mtime_ns[row])
            same = size_and_time(status) == then
        except OSError:
            same = False
        if not same:
            changed.append(intake.index.rows.names[row])
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
    return split_rows(
        intake.index.rows,
        intake.records.pixel_sha256,
        intake.records.usable,
        intake.index.classes,
        seed=config.seed,
        val_frac=config.val_frac,
        test_frac=config.test_frac,
    )
