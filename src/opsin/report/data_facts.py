"""What the manifest says of the data, counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from opsin.core.seeding import key_of
from opsin.report.numbers import count, size
from opsin.report.read import PictureRow

SPLITS = ("train", "val", "test")

MANY_CLASSES = 30
"""Beyond this many classes the page shows extremes instead of everything."""


@dataclass(frozen=True)
class ClassBar:
    """One class: how many pictures in each of `SPLITS`."""

    name: str
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """Pictures of this class in all splits."""
        return sum(self.counts)


def class_bars(pictures: Sequence[PictureRow], classes: Sequence[str]) -> list[ClassBar]:
    """One bar for each class, in the order of the class list."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in pictures:
        counts[row.label][row.split] += 1
    return [ClassBar(name, tuple(counts[name][split] for split in SPLITS)) for name in classes]


def few_bars(bars: Sequence[ClassBar]) -> tuple[list[ClassBar], int, list[ClassBar]]:
    """(the largest, how many are not shown, the smallest); all in the first list if they are few.

    Few classes keep the order of the class list, many are ordered by size.
    """
    if len(bars) <= MANY_CLASSES:
        return list(bars), 0, []
    ordered = sorted(bars, key=lambda bar: -bar.total)
    return ordered[:10], len(bars) - 20, ordered[-10:]


def data_facts(pictures: Sequence[PictureRow]) -> list[tuple[str, str]]:
    """(name, value) of what is worth knowing at a glance; empty without pictures."""
    if not pictures:
        return []
    readable = [row for row in pictures if not row.error]
    facts = [("Pictures", count(len(pictures))), ("Together", size(_total(pictures)))]
    for split, name in zip(SPLITS, ("Training", "Validation", "Test"), strict=True):
        number = sum(row.split == split for row in pictures)
        if number:
            facts.append((name, count(number)))
    unused = sum(row.split not in SPLITS for row in pictures)
    if unused:
        facts.append(("Not used", count(unused)))
    if len(readable) < len(pictures):
        facts.append(("Unreadable", count(len(pictures) - len(readable))))
    sized = [row for row in readable if row.width_px and row.height_px]
    if sized:
        facts.append(("Width", _range([row.width_px for row in sized])))
        facts.append(("Height", _range([row.height_px for row in sized])))
    facts.append(("Format", _shares(row.format for row in readable)))
    facts.append(("Colours", _shares(row.mode for row in readable)))
    return [(name, value) for name, value in facts if value]


def training_grid(
    pictures: Sequence[PictureRow], classes: Sequence[str]
) -> list[tuple[str, list[PictureRow]]]:
    """(class, some of its training pictures): up to 8 each for up to 12 classes, then fewer, down
    to one each of 36 classes. Chosen by a key, so the same data always shows the same pictures.
    """
    by_class: dict[str, list[PictureRow]] = defaultdict(list)
    for row in pictures:
        if row.split == "train" and not row.error:
            by_class[row.label].append(row)
    names = [name for name in classes if by_class[name]]
    names = sorted(sorted(names, key=lambda name: key_of("report", name))[:36], key=classes.index)
    each = 8 if len(names) <= 12 else 36 // len(names)
    return [
        (name, sorted(by_class[name], key=lambda row: key_of("report", row.path))[:each])
        for name in names
    ]


def _total(pictures: Sequence[PictureRow]) -> int:
    return sum(row.size_bytes for row in pictures)


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    if low == high:
        return f"{low} px"
    return f"{low}–{high} px, median\u00a0{median(values):.0f}"


def _shares(values: Iterable[str]) -> str:
    counts = Counter(value for value in values if value)
    common = counts.most_common(4)
    if len(common) == 1:
        return str(common[0][0])
    parts = [f"{name} {count(number)}" for name, number in common]
    rest = sum(counts.values()) - sum(number for _, number in common)
    return ", ".join(parts + ([f"other {count(rest)}"] if rest else []))
