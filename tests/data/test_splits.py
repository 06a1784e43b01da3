"""Splits: stratified, seeded, duplicates together, conflicts out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from opsin.core.columns import Texts
from opsin.core.errors import DataRefused
from opsin.data.index import Rows
from opsin.data.splits import Split, split_rows


class Item(NamedTuple):
    """A row, and what it shows."""

    source_id: str
    target: int
    content: str
    given: str | None = None


def split_items(items: Sequence[Item], classes: Sequence[str], seed: int) -> Split:
    rows = Rows(Path("/data"), [(item.source_id, item.target, item.given) for item in items])
    contents = Texts(item.content for item in items)
    return split_rows(rows, contents, np.arange(len(items)), classes, seed=seed)


def items(per_class: int, classes: int = 2, copies: int = 1) -> list[Item]:
    return [
        Item(f"{k}/{n}-{c}.png", k, f"content {k} {n}")
        for k in range(classes)
        for n in range(per_class)
        for c in range(copies)
    ]


@pytest.mark.parametrize("per_class", [3, 10, 37, 200])
def test_stratified_seventy_twenty_ten(per_class: int) -> None:
    split = split_items(items(per_class), ["a", "b"], seed=0)
    for k in ("0/", "1/"):
        counts = {n: sum(i.startswith(k) for i in ids) for n, ids in split.splits.items()}
        assert sum(counts.values()) == per_class
        assert min(counts.values()) >= 1
        for name, share in (("train", 0.7), ("val", 0.2), ("test", 0.1)):
            assert abs(counts[name] - share * per_class) <= 1.5


def test_seeded_and_independent_of_order() -> None:
    data = items(50)
    one = split_items(data, ["a", "b"], seed=1)
    again = split_items(data[::-1], ["a", "b"], seed=1)
    assert {k: set(v) for k, v in one.splits.items()} == {
        k: set(v) for k, v in again.splits.items()
    }
    assert one.splits != split_items(data, ["a", "b"], seed=2).splits


def test_duplicates_stay_on_one_side() -> None:
    split = split_items(items(40, copies=3), ["a", "b"], seed=0)
    place = {i: name for name, ids in split.splits.items() for i in ids}
    for k in range(2):
        for n in range(40):
            assert len({place[f"{k}/{n}-{c}.png"] for c in range(3)}) == 1


def test_a_picture_in_two_classes_is_left_out_of_both() -> None:
    data = [*items(10), Item("0/x.png", 0, "same"), Item("1/y.png", 1, "same")]
    split = split_items(data, ["a", "b"], seed=0)
    assert {row.path for row in split.left_out} == {"0/x.png", "1/y.png"}
    assert not {"0/x.png", "1/y.png"} & {i for ids in split.splits.values() for i in ids}


def test_given_splits_are_kept_val_is_drawn_and_leaks_are_named() -> None:
    data = [Item(f"train/{i}", i % 2, f"c{i}", "train") for i in range(40)]
    data += [Item(f"test/{i}", i % 2, f"d{i}", "test") for i in range(10)]
    data.append(Item("test/leak", 0, "c0", "test"))
    split = split_items(data, ["a", "b"], seed=0)
    assert split.given
    assert set(split.splits["test"]) == {i.source_id for i in data if i.given == "test"}
    assert Counter(i.split("/")[0] for i in split.splits["val"]) == {"train": 8}
    assert split.leaks == ("test/leak",)


def test_leak_between_given_train_and_val() -> None:
    data = [Item(f"train/{i}", i % 2, f"c{i}", "train") for i in range(8)]
    data += [Item("val/0", 0, "c0", "val"), Item("val/1", 1, "e", "val")]
    split = split_items(data, ["a", "b"], seed=0)
    assert split.leaks == ("val/0",)
    assert "val/0" in split.splits["val"]
    assert split.splits["test"] == ()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_pictures_are_refused(count: int) -> None:
    data = [*items(10, classes=1), *(Item(f"1/{n}", 1, f"x{n}") for n in range(count))]
    with pytest.raises(DataRefused, match=f'class "b" has {count} usable image'):
        split_items(data, ["a", "b"], seed=0)


def test_json_round_trip() -> None:
    data = [*items(10), Item("0/x.png", 0, "same"), Item("1/y.png", 1, "same")]
    split = split_items(data, ["a", "b"], seed=0)
    assert Split.from_dict(split.to_dict()) == split


def test_what_chose_the_epoch_is_seen_by_the_test_too() -> None:
    data = [Item(f"train/{i}", i % 2, f"c{i}", "train") for i in range(8)]
    data += [Item("val/0", 0, "v", "val"), Item("val/1", 1, "w", "val")]
    data += [Item("test/0", 0, "v", "test"), Item("test/1", 1, "x", "test")]
    assert split_items(data, ["a", "b"], seed=0).leaks == ("test/0",)
