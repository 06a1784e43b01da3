"""Train, val and test: drawn once, written down, never derived again.

Rows that show the same picture form a group and stay on one side. A picture filed under two
classes is left out of all splits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsin.core.columns import Column, Numbers, Texts
from opsin.core.errors import DataRefused
from opsin.core.seeding import key_of
from opsin.data.index import Rows

SPLITS = ("train", "val", "test")
_TRAIN, _VAL, _TEST, _NONE = range(4)
_GIVEN = {"train": _TRAIN, "val": _VAL, "test": _TEST, "": _NONE}


@dataclass(frozen=True)
class LeftOut:
    """A row that is in no split, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Split:
    """`split.json`. `leaks`: rows of val whose picture is in train as well, and of test
    whose picture is in train or val (only when the folders gave the splits; they stay, and a
    second metric is computed without them).
    """

    classes: tuple[str, ...]
    seed: int
    given: bool
    splits: Mapping[str, Column]
    left_out: tuple[LeftOut, ...]
    leaks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "classes": list(self.classes),
            "seed": self.seed,
            "given": self.given,
            "splits": {name: list(ids) for name, ids in self.splits.items()},
            "left_out": [asdict(row) for row in self.left_out],
            "leaks": list(self.leaks),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Split:
        """The inverse of `to_dict`. Raises `DataRefused` when a part is missing."""
        missing = [name for name in ("classes", "seed", "given", "splits") if name not in data]
        if missing:
            raise DataRefused(
                f"split.json is damaged: it lacks {', '.join(missing)}", code="run_damaged"
            )
        return cls(
            classes=tuple(data["classes"]),
            seed=data["seed"],
            given=data["given"],
            splits={name: Texts(ids) for name, ids in data["splits"].items()},
            left_out=tuple(LeftOut(**row) for row in data["left_out"]),
            leaks=tuple(data["leaks"]),
        )


def split_rows(
    rows: Rows,
    contents: Column,
    usable: Numbers,
    classes: Sequence[str],
    *,
    seed: int,
    val_frac: float = 0.2,
    test_frac: float = 0.1,
) -> Split:
    """Stratified and seeded; what the folders give is kept, a missing val is drawn from train.

    `contents`: of each row, equal for rows that show the same picture; `usable`: the rows to split.
    The order depends on (seed, picture) alone, so adding files moves few of the others.
    Raises `DataRefused` when a class has too few pictures to be in every split.
    """
    targets = rows.targets
    conflicting = _conflicts(contents.groups(usable), targets[usable])
    left_out = [LeftOut(rows.names[row], "filed under two classes") for row in usable[conflicting]]
    kept = usable[~conflicting]
    groups, targets = contents.groups(kept), targets[kept]
    given = np.array([_GIVEN[name] for name in rows.splits.values] or [_NONE], np.int8)
    assigned = given[rows.splits.numbers[kept]]
    draw = _Draw(contents, kept, groups, targets, classes, seed)
    is_given = bool((assigned != _NONE).any())
    if not is_given:
        share = {_TRAIN: 1 - val_frac - test_frac, _VAL: val_frac, _TEST: test_frac}
        draw.into(assigned, np.arange(len(kept)), share)
    else:
        assigned[assigned == _NONE] = _TRAIN
        if not (assigned == _VAL).any():
            share_of_val = val_frac / (1 - test_frac)
            pool = np.flatnonzero(assigned == _TRAIN)
            draw.into(assigned, pool, {_TRAIN: 1 - share_of_val, _VAL: share_of_val})
    _require_classes(targets[assigned == _TRAIN], classes)
    splits = {name: rows.names.pick(kept[assigned == at]) for at, name in enumerate(SPLITS)}
    leaks = tuple(rows.names[row] for row in kept[_leaks(groups, assigned)])
    return Split(tuple(classes), seed, is_given, splits, tuple(left_out), leaks)


def _conflicts(groups: Numbers, targets: Numbers) -> NDArray[np.bool_]:
    """Which rows show a picture that is filed under two classes."""
    if not len(groups):
        return np.zeros(0, bool)
    low = np.full(groups.max() + 1, np.iinfo(np.int64).max)
    high = np.full(groups.max() + 1, -1)
    np.minimum.at(low, groups, targets)
    np.maximum.at(high, groups, targets)
    conflicting: NDArray[np.bool_] = (low != high)[groups]
    return conflicting


def _leaks(groups: Numbers, assigned: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Rows of val that training saw, and rows of test that training or the choice of the best
    epoch (val) saw.
    """
    earliest = np.full(groups.max(initial=-1) + 1, _NONE, np.int8)
    np.minimum.at(earliest, groups, assigned)
    leaks: NDArray[np.bool_] = assigned > earliest[groups]
    return leaks


class _Draw:
    """Assigns whole groups, class by class, always to the split that lacks most."""

    def __init__(
        self,
        contents: Column,
        rows: Numbers,
        groups: Numbers,
        targets: Numbers,
        classes: Sequence[str],
        seed: int,
    ) -> None:
        self._contents, self._rows, self._groups = contents, rows, groups
        self._targets, self._classes, self._seed = targets, classes, seed

    def into(
        self, assigned: NDArray[np.int8], pool: Numbers, fractions: Mapping[int, float]
    ) -> None:
        """Set `assigned` of the rows in `pool`."""
        for target in np.unique(self._targets[pool]).tolist():
            members = pool[self._targets[pool] == target]
            _, first, group, sizes = np.unique(
                self._groups[members], return_index=True, return_inverse=True, return_counts=True
            )
            if len(sizes) < len(fractions):
                raise too_few(self._classes[target], len(sizes), len(fractions))
            keys = [
                key_of(self._seed, "split", self._contents[row])
                for row in self._rows[members[first]].tolist()
            ]
            order = sorted(range(len(keys)), key=keys.__getitem__)
            chosen = np.empty(len(sizes), np.int8)
            lacking = {name: share * len(members) for name, share in fractions.items()}
            # The smallest splits take their first picture first, so that none stays empty.
            smallest = sorted(fractions, key=lambda name: fractions[name])
            for number, at in enumerate(order):
                name = (
                    smallest[number]
                    if number < len(smallest)
                    else max(lacking, key=lambda candidate: lacking[candidate])
                )
                lacking[name] -= int(sizes[at])
                chosen[at] = name
            assigned[members] = chosen[group]


def _require_classes(trained: Numbers, classes: Sequence[str]) -> None:
    there = set(trained.tolist())
    for target, name in enumerate(classes):
        if target not in there:
            raise too_few(name, 0, 1)


def too_few(name: str, count: int, needed: int) -> DataRefused:
    """The error for a class that is too small to be split."""
    return DataRefused(
        f'class "{name}" has {count} usable image{"" if count == 1 else "s"}; '
        f"at least {needed} needed to split",
        code="too_few_images",
        where=name,
        fix="add pictures of it, or take the class folder out",
    )
