"""`FileRecord`: everything that one look at a file found out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from opsin.data.decode import Note


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
