"""Train, val and test: drawn once, written down, never derived again.

Rows that show the same picture form a group and stay on one side. A picture filed under two
classes is left out of all splits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from opsin.core.errors import DataRefused
from opsin.core.seeding import key_of

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Item:
    """What splitting needs of a row: `content` is equal for rows that show the same picture;
    `given` is the split that the folder names, if it does.
    """

    source_id: str
    target: int
    content: str
    given: str | None = None


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
    splits: dict[str, tuple[str, ...]]
    left_out: tuple[LeftOut, ...]
    leaks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

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
            splits={name: tuple(ids) for name, ids in data["splits"].items()},
            left_out=tuple(LeftOut(**row) for row in data["left_out"]),
            leaks=tuple(data["leaks"]),
        )


def split_items(
    items: Sequence[Item],
    classes: Sequence[str],
    *,
    seed: int,
    val_frac: float = 0.2,
    test_frac: float = 0.1,
) -> Split:
    """Stratified and seeded; what the folders give is kept, a missing val is drawn from train.

    The order depends on (seed, picture) alone, so adding files moves few of the others.
    Raises `DataRefused` when a class has too few pictures to be in every split.
    """
    left_out, kept = _without_conflicts(items)
    given = any(item.given for item in kept)
    if not given:
        fractions = {"train": 1 - val_frac - test_frac, "val": val_frac, "test": test_frac}
        assigned = _draw(kept, classes, fractions, seed)
    else:
        assigned = {item.source_id: item.given or "train" for item in kept}
        if "val" not in assigned.values():
            pool = [item for item in kept if assigned[item.source_id] == "train"]
            share = val_frac / (1 - test_frac)
            assigned |= _draw(pool, classes, {"train": 1 - share, "val": share}, seed)
    splits = {
        name: tuple(item.source_id for item in kept if assigned[item.source_id] == name)
        for name in SPLITS
    }
    _require_classes(kept, assigned, classes)
    leaks = tuple(_leaks(kept, assigned))
    return Split(tuple(classes), seed, given, splits, tuple(left_out), leaks)


def _leaks(items: Sequence[Item], assigned: Mapping[str, str]) -> list[str]:
    """Rows of val that training saw, and rows of test that training or the choice of the best
    epoch (val) saw.
    """
    seen: dict[str, set[str]] = {name: set() for name in SPLITS}
    for item in items:
        seen[assigned[item.source_id]].add(item.content)
    before = {"train": set(), "val": seen["train"], "test": seen["train"] | seen["val"]}
    return [item.source_id for item in items if item.content in before[assigned[item.source_id]]]


def _without_conflicts(items: Sequence[Item]) -> tuple[list[LeftOut], list[Item]]:
    targets: dict[str, set[int]] = defaultdict(set)
    for item in items:
        targets[item.content].add(item.target)
    left_out = [
        LeftOut(item.source_id, "filed under two classes")
        for item in items
        if len(targets[item.content]) > 1
    ]
    return left_out, [item for item in items if len(targets[item.content]) == 1]


def _draw(
    items: Sequence[Item], classes: Sequence[str], fractions: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Assign whole groups, class by class, always to the split that lacks most."""
    groups: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        groups[item.target][item.content].append(item.source_id)
    assigned: dict[str, str] = {}
    for target, members in groups.items():
        if len(members) < len(fractions):
            raise too_few(classes[target], len(members), len(fractions))
        order = sorted(members, key=lambda content: key_of(seed, "split", content))
        total = sum(len(ids) for ids in members.values())
        lacking = {name: share * total for name, share in fractions.items()}
        # The smallest splits take their first picture first, so that none stays empty.
        first = sorted(fractions, key=lambda name: fractions[name])
        for number, content in enumerate(order):
            name = (
                first[number]
                if number < len(first)
                else max(lacking, key=lambda candidate: lacking[candidate])
            )
            lacking[name] -= len(members[content])
            for source_id in members[content]:
                assigned[source_id] = name
    return assigned


def _require_classes(
    items: Sequence[Item], assigned: Mapping[str, str], classes: Sequence[str]
) -> None:
    trained = {item.target for item in items if assigned[item.source_id] == "train"}
    for target, name in enumerate(classes):
        if target not in trained:
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
