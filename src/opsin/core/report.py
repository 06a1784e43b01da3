"""`Report`: values keyed by (split, slice, metric), each with its count and interval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Value:
    """A number, the weight of the samples behind it, and its interval (95 % by default).

    `low` and `high` are None where no interval is defined (a count, a loss).
    """

    value: float
    count: float
    low: float | None = None
    high: float | None = None
    method: str = ""

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.value:.3f}{interval}"


@dataclass
class Report:
    """Every number of an evaluation.

    >>> report = Report(settings={"interval": "95 %"})
    >>> report.add("test", "all", "accuracy", Value(0.9, 10, 0.6, 0.98, "wilson"))
    >>> str(report["test", "all", "accuracy"])
    '0.900 [0.600, 0.980]'
    """

    settings: dict[str, Any] = field(default_factory=dict)
    values: dict[tuple[str, str, str], Value] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    """What is not one number: `"confusion/<split>"` is K rows (true) of K counts (predicted)."""

    def add(self, split: str, slice_: str, metric: str, value: Value) -> None:
        """Record one value; a key is never written twice."""
        key = (split, slice_, metric)
        if key in self.values:
            raise KeyError(f"{key} is already in the report")
        self.values[key] = value

    def __getitem__(self, key: tuple[str, str, str]) -> Value:
        return self.values[key]

    def __contains__(self, key: tuple[str, str, str]) -> bool:
        return key in self.values

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        return iter(self.values)

    @property
    def splits(self) -> list[str]:
        """The splits that have values, in the order they were added."""
        return list(dict.fromkeys(split for split, _, _ in self.values))

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object: a list of rows, so that no key has to be taken apart again."""
        rows = [
            {"split": split, "slice": slice_, "metric": metric, **asdict(value)}
            for (split, slice_, metric), value in self.values.items()
        ]
        return {"settings": self.settings, "values": rows, "tables": self.tables}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Report:
        """The inverse of `to_dict`."""
        report = cls(settings=data["settings"], tables=data["tables"])
        for row in data["values"]:
            rest = {k: v for k, v in row.items() if k not in ("split", "slice", "metric")}
            report.add(row["split"], row["slice"], row["metric"], Value(**rest))
        return report


def main_split(splits: Iterable[str]) -> str | None:
    """The split whose numbers count: the test set; without one, the validation set; without
    either, the last.

    >>> main_split(["val", "test"]), main_split(["val"]), main_split(["data"]), main_split([])
    ('test', 'val', 'data', None)
    """
    known = list(splits)
    for name in ("test", "val"):
        if name in known:
            return name
    return known[-1] if known else None
