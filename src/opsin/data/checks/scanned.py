"""`ScannedData`: what the checks look at, an index and the record of each of its files."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from opsin.core.columns import Numbers
from opsin.data.index import Index, Row
from opsin.data.record import Records


@dataclass(frozen=True)
class ScannedData:
    """`records[i]` belongs to `index.rows[i]`. Checks look at columns: data sets are large."""

    index: Index
    records: Records

    def __post_init__(self) -> None:
        if self.records.rows is not self.index.rows:
            raise ValueError("records and rows are not of the same files")

    @cached_property
    def usable(self) -> Numbers:
        """The rows whose picture could be decoded."""
        return self.records.usable

    @cached_property
    def pictures(self) -> Numbers:
        """A number for each of `usable`, the same for those that show the same picture."""
        return self.records.pixel_sha256.groups(self.usable)

    @cached_property
    def same_picture(self) -> list[list[Row]]:
        """The rows of each picture that is there more than once, whatever its container."""
        often = np.flatnonzero(np.bincount(self.pictures, minlength=1) > 1)
        found: dict[int, list[Row]] = defaultdict(list)
        for at in np.flatnonzero(np.isin(self.pictures, often)).tolist():
            found[int(self.pictures[at])].append(self.index.rows[int(self.usable[at])])
        return list(found.values())

    @cached_property
    def splits(self) -> list[str]:
        """The splits that the data itself names, in the order train, val, test."""
        named = self.index.rows.splits.values
        return [split for split in ("train", "val", "test") if split in named]

    @property
    def targets(self) -> Numbers:
        """The class of each of `usable`."""
        return self.index.rows.targets[self.usable]

    def class_name(self, row: Row) -> str:
        """The class that a row is filed under."""
        return self.index.classes[row.target]


def files(number: int) -> str:
    """A count of pictures in words.

    >>> files(1), files(1200)
    ('1 picture', '1,200 pictures')
    """
    return f"{number:,} picture" + "s" * (number != 1)
