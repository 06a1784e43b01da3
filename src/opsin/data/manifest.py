"""`manifest.csv`: what every file of the data was when the run began."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from opsin.core.columns import Codes
from opsin.core.files import sha256_bytes
from opsin.core.run_dir import read_rows, write_rows
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
            index.classes[row.target],
            name,
            record.error or "",
        )
        for row, record, name in zip(index.rows, records, split_of, strict=True)
    )
    write_rows(path, HEADER, rows)


def contents(index: Index, records: Records) -> dict[str, tuple[str, str]]:
    """Source id to (SHA-256 of the bytes, class): what makes two data sets the same."""
    labels = (index.classes[target] for target in index.rows.targets.tolist())
    pairs = zip(records.sha256, labels, strict=True)
    return dict(zip(index.rows.names, pairs, strict=True))


def read_contents(path: Path) -> dict[str, tuple[str, str]]:
    """The `contents` that a manifest recorded."""
    return {row["path"]: (row["sha256"], row["class"]) for row in read_rows(path)}


def data_hash(content: Mapping[str, tuple[str, str]]) -> str:
    """One SHA-256 for the whole data set; copies and new time stamps do not change it."""
    lines = (f"{name}\0{sha}\0{label}\n" for name, (sha, label) in sorted(content.items()))
    return sha256_bytes("".join(lines).encode("utf-8", "surrogateescape"))


def differences(
    before: Mapping[str, tuple[str, str]], now: Mapping[str, tuple[str, str]]
) -> list[str]:
    """What changed, a sentence a file, at most six and a count of the rest."""
    found = [f"{name} is gone" for name in before if name not in now]
    found += [f"{name} is new" for name in now if name not in before]
    for name, (sha, label) in before.items():
        if name in now and now[name] != (sha, label):
            what = "class" if now[name][0] == sha else "content"
            found.append(f"{name} has another {what}")
    return found if len(found) <= 6 else [*found[:6], f"and {len(found) - 6} more"]
