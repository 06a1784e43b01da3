"""`FileRecord`: everything that one look at a file found out; `Records`: those of all rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsin.core.columns import Codes, Hashes, Numbers
from opsin.core.lazy_sequence import LazySequence
from opsin.data.decode import Note
from opsin.data.index import Rows


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file as it was when it was scanned.

    `sha256` is of the bytes, `pixel_sha256` of the decoded RGB picture and its shape, sizes are
    as it is seen (EXIF orientation applied). `error` is a code of `Undecodable` or None. What
    could not be found out is "" or 0.
    """

    source_id: str
    path: Path
    size_bytes: int = 0
    mtime_ns: int = 0
    sha256: str = ""
    pixel_sha256: str = ""
    width_px: int = 0
    height_px: int = 0
    format: str = ""
    mode: str = ""
    notes: tuple[Note, ...] = ()
    error: str | None = None
    error_message: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object.

        >>> record = FileRecord("a.png", Path("/x/a.png"), notes=(Note("rotated", "by 90"),))
        >>> FileRecord.from_dict(record.to_dict()) == record
        True
        """
        return asdict(self) | {"path": str(self.path)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> FileRecord:
        """The inverse of `to_dict`."""
        notes = tuple(Note(**note) for note in data["notes"])
        return cls(**(data | {"path": Path(data["path"]), "notes": notes}))


class Records(LazySequence[FileRecord]):
    """The record of each of `rows`, as columns: a `FileRecord` is made when it is asked for.

    They come in any order: `known` says of which rows there is one. `error`: "" for none;
    `notes`, `messages`: of the few rows that have some.
    """

    def __init__(self, rows: Rows) -> None:
        count = len(rows)
        self.rows = rows
        self.known = np.zeros(count, bool)
        self.size_bytes = np.zeros(count, np.int64)
        self.mtime_ns = np.zeros(count, np.int64)
        self.width_px = np.zeros(count, np.int32)
        self.height_px = np.zeros(count, np.int32)
        self.sha256, self.pixel_sha256 = Hashes(count), Hashes(count)
        self.format, self.mode, self.error = (Codes(size=count) for _ in range(3))
        self.notes: dict[int, tuple[Note, ...]] = {}
        self.messages: dict[int, str] = {}
        self._alike: dict[tuple[Note, ...], tuple[Note, ...]] = {}

    @classmethod
    def of(cls, rows: Rows, records: Iterable[FileRecord]) -> Records:
        """Those of all rows, in their order."""
        made = cls(rows)
        for at, record in enumerate(records):
            made[at] = record
        return made

    @property
    def usable(self) -> Numbers:
        """The rows whose picture could be decoded."""
        return np.flatnonzero(self.known & (self.error.numbers == 0))

    @property
    def unusable(self) -> Numbers:
        """The rows whose picture could not be decoded."""
        return np.flatnonzero(self.known & (self.error.numbers != 0))

    @property
    def missing(self) -> NDArray[np.int32]:
        """The rows of which there is no record."""
        return np.flatnonzero(~self.known).astype(np.int32)

    def forget(self, at: int) -> None:
        """Let there be no record of a row."""
        self[at] = FileRecord("", Path())
        self.known[at] = False

    def __len__(self) -> int:
        return len(self.known)

    def __setitem__(self, at: int, record: FileRecord) -> None:
        self.known[at] = True
        self.size_bytes[at], self.mtime_ns[at] = record.size_bytes, record.mtime_ns
        self.width_px[at], self.height_px[at] = record.width_px, record.height_px
        self.sha256[at], self.pixel_sha256[at] = record.sha256, record.pixel_sha256
        self.format[at], self.mode[at] = record.format, record.mode
        self.error[at] = record.error or ""
        notes = self._alike.setdefault(record.notes, record.notes)
        for column, value in ((self.notes, notes), (self.messages, record.error_message)):
            column.pop(at, None)
            if value:
                column[at] = value  # type: ignore[assignment]

    def item(self, at: int) -> FileRecord:
        name = self.rows.names[at]
        return FileRecord(
            name,
            self.rows.root / name,
            int(self.size_bytes[at]),
            int(self.mtime_ns[at]),
            self.sha256[at],
            self.pixel_sha256[at],
            int(self.width_px[at]),
            int(self.height_px[at]),
            self.format[at],
            self.mode[at],
            self.notes.get(at, ()),
            self.error[at] or None,
            self.messages.get(at, ""),
        )
