"""`Index`: which files there are and what each is said to be; made by a format."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from opsin.core.columns import Codes, Numbers, Texts
from opsin.core.finding import Finding
from opsin.core.lazy_sequence import LazySequence


@dataclass(frozen=True, slots=True)
class Row:
    """One picture. `source_id`: its name in every file that Opsin writes; `target`: the index of
    its class; `split`: "train", "val", "test" as the data says it, or None.
    """

    source_id: str
    path: Path
    target: int
    split: str | None


class Rows(LazySequence[Row]):
    """All rows of a data set, as columns: a `Row` is made when it is asked for.

    `names`: the source ids, each the path of its file below `root`; `splits`: "" where the data
    says none.

    >>> rows = Rows(Path("photos"), [("cat/1.jpg", 0, "train")])
    >>> rows[0].path.as_posix(), rows.names[0], rows.targets.tolist()
    ('photos/cat/1.jpg', 'cat/1.jpg', [0])
    """

    def __init__(self, root: Path, rows: Iterable[tuple[str, int, str | None]] = ()) -> None:
        self.root = root
        self.names = Texts()
        self.splits = Codes()
        self._targets = array("i")
        for row in rows:
            self.append(*row)

    def append(self, source_id: str, target: int, split: str | None) -> None:
        """Add one."""
        self.names.append(source_id)
        self._targets.append(target)
        self.splits.append(split or "")

    @property
    def targets(self) -> Numbers:
        """The classes, int64 N."""
        return np.array(self._targets, np.int64)

    @property
    def paths(self) -> Paths:
        """The files."""
        return Paths(self.root, self.names)

    def __len__(self) -> int:
        return len(self.names)

    def item(self, at: int) -> Row:
        name = self.names[at]
        return Row(name, self.root / name, self._targets[at], self.splits[at] or None)


class Paths(LazySequence[Path]):
    """The files `names` below `root`."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root, self._names = root, names

    def __len__(self) -> int:
        return len(self._names)

    def item(self, at: int) -> Path:
        return self._root / self._names[at]


@dataclass
class Index:
    """All rows of a data set, in an order that does not depend on the file system.

    `findings`: what the format noticed, such as dangling links or ignored files.
    """

    root: Path
    classes: tuple[str, ...]
    rows: Rows
    findings: tuple[Finding, ...]
