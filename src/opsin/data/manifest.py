"""`manifest.csv`: what every file of the data was when the run began."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opsin.core.columns import Codes, Places, Texts
from opsin.core.run_dir import each_row, write_rows
from opsin.data.index import Index
from opsin.data.record import Records
from opsin.data.splits import Split

HEADER = (
    "path",
    "size_bytes",
    "mtime_ns",
    "sha256",
    "pixel_sha256",
    "width_px",
    "height_px",
    "format",
    "mode",
    "class",
    "split",
    "error",
)


def write_manifest(path: Path, index: Index, records: Records, split: Split) -> None:
    """One row a file, in the order of the index."""
    split_of = Codes(size=len(records))
    for name, ids in split.splits.items():
        for at in index.rows.names.find(ids).tolist():
            split_of[at] = name
    targets = index.rows.targets.tolist()
    rows = (
        (
            record.source_id,
            record.size_bytes,
            record.mtime_ns,
            record.sha256,
            record.pixel_sha256,
            record.width_px,
            record.height_px,
            record.format,
            record.mode,
            index.classes[target],
            name,
            record.error or "",
        )
        for target, record, name in zip(targets, records, split_of, strict=True)
    )
    write_rows(path, HEADER, rows)


@dataclass(frozen=True)
class Contents:
    """What makes two data sets the same: `names`, the source ids; of each the SHA-256 of the bytes
    in `sums` and the class in `labels`.
    """

    names: Texts
    sums: Sequence[str]
    labels: Sequence[str]


def contents(index: Index, records: Records) -> Contents:
    """Those of files as they are now."""
    labels = Codes(index.classes[target] for target in index.rows.targets.tolist())
    return Contents(index.rows.names, records.sha256, labels)


def read_contents(path: Path) -> Contents:
    """Those that a manifest recorded. Raises `KeyError` for another file."""
    names, sums, labels = Texts(), Texts(), Codes()
    for row in each_row(path):
        names.append(row["path"])
        sums.append(row["sha256"])
        labels.append(row["class"])
    return Contents(names, sums, labels)


def data_hash(content: Contents) -> str:
    """One SHA-256 for the whole data set; copies and new time stamps do not change it."""
    digest, names = hashlib.sha256(), content.names
    for at in sorted(range(len(names)), key=names.item):
        line = f"{names[at]}\0{content.sums[at]}\0{content.labels[at]}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def differences(before: Contents, now: Contents) -> list[str]:
    """What changed, a sentence a file, at most six and a count of the rest."""
    then, today = Places(before.names), Places(now.names)
    places = [today.of(name) for name in before.names]
    found = [f"{name} is gone" for name, at in zip(before.names, places, strict=True) if at < 0]
    found += [f"{name} is new" for name in now.names if then.of(name) < 0]
    for number, at in enumerate(places):
        same_content = at < 0 or before.sums[number] == now.sums[at]
        if not same_content or (at >= 0 and before.labels[number] != now.labels[at]):
            what = "class" if same_content else "content"
            found.append(f"{before.names[number]} has another {what}")
    return found if len(found) <= 6 else [*found[:6], f"and {len(found) - 6} more"]
