"""Columns of text: what a list of the same strings says, and little memory."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from opsin.core.columns import Codes, Column, Hashes, Joined, Picked, Places, Texts
from opsin.data.index import Rows
from opsin.data.record import FileRecord, Records

NAMES = ["cat/1.jpg", "", "dog/ü\n.png", os.fsdecode(b"dog/\xff.png"), "\ud83d", "cat/1.jpg"]
SUMS = [f"{number:064x}" for number in (1, 0xFF << 248, 3, 4)]


def hashes(texts: Sequence[str]) -> Hashes:
    made = Hashes(len(texts))
    for at, text in enumerate(texts):
        made[at] = text
    return made


COLUMNS: dict[str, tuple[Column, list[str]]] = {
    "texts": (Texts(NAMES), NAMES),
    "codes": (Codes(NAMES), NAMES),
    "picked": (Texts(NAMES).pick(np.array([2, 0, 0])), [NAMES[2], NAMES[0], NAMES[0]]),
    "joined": (Joined([Texts(NAMES[:2]), [], NAMES[2:]]), NAMES),
    "hashes": (hashes([*SUMS, ""]), [*SUMS, ""]),
    "nothing": (Texts(), []),
    "many": (Codes(map(str, range(700))), [str(n) for n in range(700)]),
}


@pytest.mark.parametrize(("column", "expected"), COLUMNS.values(), ids=list(COLUMNS))
@pytest.mark.parametrize(
    "through", [lambda column: column, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_says_what_a_list_says(
    column: Column, expected: list[str], through: Callable[[Column], Column]
) -> None:
    made = through(column)
    assert list(made) == expected
    assert len(made) == len(expected)
    assert made == expected
    assert expected == made
    assert made != [*expected, "more"]
    for at in range(-len(expected), len(expected)):
        assert made[at] == expected[at]
    for part in (slice(None), slice(1, None), slice(None, None, -2), slice(-2, 99)):
        assert made[part] == tuple(expected[part])
    for outside in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError):
            made[outside]
    if isinstance(made, Picked):
        assert hash(made) == hash(tuple(expected))
    else:
        with pytest.raises(TypeError):
            hash(made)
    positions = np.arange(len(expected))
    groups = made.groups(positions)
    for a in positions:
        for b in positions[:20]:
            assert (groups[a] == groups[b]) == (expected[a] == expected[b])


def test_names_are_found() -> None:
    names = Texts(f"{number % 7}/{number}.jpg" for number in range(1000))
    wanted = [names[number] for number in (3, 999, 0, 3)]
    assert names.find(wanted).tolist() == [3, 999, 0, 3]
    assert names.find(Texts(wanted)).tolist() == [3, 999, 0, 3]
    assert names.find(names.pick(np.array([5, 4]))).tolist() == [5, 4]
    assert Places(names).of("8/8.jpg") == -1
    with pytest.raises(KeyError, match="none"):
        names.find(["none"])
    names.append("none")
    assert names.find(["none"]).tolist() == [1000], "also what came after the first search"


def test_two_names_of_one_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    from opsin.core import columns

    monkeypatch.setattr(columns, "hash", len, raising=False)
    names = Texts(["ab", "cd", "e", "fg"])
    assert names.find(["fg", "ab", "e", "cd"]).tolist() == [3, 0, 2, 1]
    assert Places(names).of("xy") == -1


def test_codes_can_be_set_and_searched() -> None:
    codes = Codes(size=400)
    for at in range(400):
        codes[at] = f"value {at}"
    codes.repeat("value 7", 3)
    assert codes.where("value 7").tolist() == [7, 400, 401, 402]
    assert codes.where("other").tolist() == []
    assert codes[399] == "value 399"
    assert codes.numbers.dtype == np.int64


def test_a_column_is_small() -> None:
    """A tenth of what strings in a list take, where they are few; a third of names."""

    def taken(make: Callable[[], object]) -> int:
        tracemalloc.start()
        made = make()
        current = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert made
        return current

    count = 20_000
    as_list = taken(lambda: [f"class{n % 10}/{n:07}.jpg" for n in range(count)])
    as_texts = taken(lambda: Texts(f"class{n % 10}/{n:07}.jpg" for n in range(count)))
    assert as_texts < as_list / 2.5
    rows = Rows(Path("/data"), ((f"class{n % 10}/{n:07}.jpg", 0, None) for n in range(count)))
    assert taken(lambda: filled(rows)) < 110 * count, "bytes of each picture"


def filled(rows: Rows) -> Records:
    records = Records(rows)
    for at in range(len(rows)):
        records[at] = FileRecord(
            "", Path(), 10**9, 10**18, f"{at:064x}", f"{at + 1:064x}", 1 << 20, 7, "JPEG", "RGB"
        )
    return records


def test_records_are_those_that_were_set() -> None:
    rows = Rows(Path("/data"), [("a.png", 0, None), ("b.png", 1, "val"), ("c.png", 1, None)])
    records = Records(rows)
    assert records.missing.tolist() == [0, 1, 2]
    bad = FileRecord("b.png", Path("/data/b.png"), 9, 5, error="truncated", error_message="why")
    good = FileRecord("c.png", Path("/data/c.png"), 8, 4, SUMS[0], SUMS[1], 3, 2, "PNG", "L")
    records[1], records[2] = bad, good
    assert (records[1], records[-1]) == (bad, good)
    assert (records.missing.tolist(), records.usable.tolist()) == ([0], [2])
    assert records.unusable.tolist() == [1]
    records[1] = good
    assert records[1].error_message == "", "nothing is left of what was there"
    records.forget(2)
    assert (records.missing.tolist(), records.usable.tolist()) == ([0, 2], [1])
    assert isinstance(rows.names.pick(records.usable), Picked)
