"""`ScannedData`: what the checks look at, an index and the record of each of its files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from opsin.data.index import Index, Row
from opsin.data.record import FileRecord


@dataclass(frozen=True)
class ScannedData:
    """`records[i]` belongs to `index.rows[i]`."""

    index: Index
    records: Sequence[FileRecord]

    def __post_init__(self) -> None:
        wanted = [row.source_id for row in self.index.rows]
        if wanted != [record.source_id for record in self.records]:
            raise ValueError("records and rows are not of the same files")

    @cached_property
    def usable(self) -> list[tuple[Row, FileRecord]]:
        """The rows whose picture could be decoded."""
        pairs = zip(self.index.rows, self.records, strict=True)
        return [(row, record) for row, record in pairs if record.error is None]

    @cached_property
    def same_picture(self) -> list[list[Row]]:
        """The rows of each picture that is there more than once, whatever its container."""
        groups: dict[str, list[Row]] = defaultdict(list)
        for row, record in self.usable:
            groups[record.pixel_sha256].append(row)
        return [rows for rows in groups.values() if len(rows) > 1]

    @cached_property
    def splits(self) -> list[str]:
        """The splits that the data itself names, in the order train, val, test."""
        named = {row.split for row in self.index.rows}
        return [split for split in ("train", "val", "test") if split in named]

    def class_name(self, row: Row) -> str:
        """The class that a row is filed under."""
        return self.index.classes[row.target]


def files(number: int) -> str:
    """A count of pictures in words.

    >>> files(1), files(1200)
    ('1 picture', '1,200 pictures')
    """
    return f"{number:,} picture" + "s" * (number != 1)
