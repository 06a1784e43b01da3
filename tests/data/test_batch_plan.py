"""Which sample is drawn when: the same draws for any share, start and order of asking."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from opsin.data.balance import choose_balance
from opsin.data.batch_plan import balanced_order, batch_plan, share_of

SIZES = {"many": 50, "some": 9, "few": 3, "one": 1}
CLASSES = [name for name, size in SIZES.items() for _ in range(size)]
IDS = [f"{name}/{n}.png" for n, name in enumerate(CLASSES)]
TOTAL = len(IDS)


def drawn(epoch: int, seed: int = 0) -> list[int]:
    return balanced_order(IDS, CLASSES, seed=seed, epoch=epoch)


@pytest.mark.parametrize("epoch", range(1, 9))
def test_classes_are_drawn_equally_often_and_nothing_twice_before_all_once(epoch: int) -> None:
    order = drawn(epoch)
    assert len(order) == TOTAL
    of_class = Counter(CLASSES[position] for position in order)
    assert max(of_class.values()) - min(of_class.values()) <= 1
    times = Counter(order)
    for name in ("some", "few", "one"):
        mine = [times[position] for position in range(TOTAL) if CLASSES[position] == name]
        assert max(mine) - min(mine) <= 1
        assert min(mine) >= 1


def test_a_large_class_is_gone_through_over_the_epochs() -> None:
    times: Counter[int] = Counter()
    for epoch in range(1, 26):
        times.update(drawn(epoch))
        mine = [times[position] for position in range(TOTAL) if CLASSES[position] == "many"]
        assert max(mine) - min(mine) <= 1
    of_class = Counter()
    for position, number in times.items():
        of_class[CLASSES[position]] += number
    assert max(of_class.values()) - min(of_class.values()) <= 1, "odd draws even out"


def test_draws_depend_on_seed_epoch_and_id_alone() -> None:
    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    assert drawn(3) != drawn(3, seed=1)
    mixed = np.random.default_rng(0).permutation(TOTAL)
    # Classes in the order of their first sample, so that order is kept.
    mixed = sorted(mixed, key=lambda n: list(SIZES).index(CLASSES[n]))
    again = balanced_order([IDS[n] for n in mixed], [CLASSES[n] for n in mixed], seed=0, epoch=3)
    assert [IDS[mixed[n]] for n in again] == [IDS[n] for n in drawn(3)]


def test_the_draws_are_mixed() -> None:
    order = drawn(1)
    names = [CLASSES[position] for position in order]
    assert len(set(names[:12])) >= 3
    runs = sum(a != b for a, b in pairwise(names))
    assert runs > TOTAL / 2


def test_the_shares_of_all_ranks_are_the_plan() -> None:
    plan = batch_plan(IDS, 8, seed=0, epoch=1, shuffle=True)
    for processes in (1, 2, 3, 11):
        parts = [list(share_of(plan, (rank, processes), fill=True)) for rank in range(processes)]
        assert {len(part) for part in parts} == {len(plan)}, "each takes part in each step"
        for number, batch in enumerate(plan):
            mine = [part[number] for part in parts]
            rows = [row for rows, filler in mine if not filler for row in rows]
            assert sorted(rows) == sorted(batch)
            assert all(rows == list(batch[:1]) for rows, filler in mine if filler)
    kept = [list(share_of(plan, (rank, 11), fill=False)) for rank in range(11)]
    assert sum(len(rows) for part in kept for rows, _ in part) == TOTAL
    assert not any(filler for part in kept for _, filler in part)


@pytest.mark.parametrize(
    ("setting", "sizes", "mode"),
    [
        ("auto", (100, 10), "none"),
        ("auto", (101, 10), "weights"),
        ("weights", (2, 1), "weights"),
        ("sampling", (2, 1), "sampling"),
        ("none", (1000, 1), "none"),
    ],
)
def test_balance(setting: str, sizes: tuple[int, int], mode: str) -> None:
    targets = [0] * sizes[0] + [1] * sizes[1]
    found = choose_balance(targets, ("cat", "dog"), setting)
    assert found.mode == mode
    assert found.sampling is (mode == "sampling")
    assert found.ratio == sizes[0] / sizes[1]
    assert [row.count for row in found.classes] == list(sizes)
    factors = [row.factor * row.count for row in found.classes]
    if mode == "none":
        assert found.weights is None
        assert factors == list(sizes)
        assert bool(found.sentence()) is (found.ratio > 10)
    else:
        assert factors[0] == pytest.approx(factors[1]), "each class counts the same"
        assert sum(factors) == pytest.approx(len(targets)), "and all together what they did"
        assert "--balance none switches it off" in found.sentence()


def test_weights_are_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    targets = np.array([0] * 40 + [1] * 3 + [2] * 7)
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=targets)
    assert choose_balance(targets.tolist(), "abc", "weights").weights == pytest.approx(theirs)


def test_a_class_without_pictures_and_many_classes() -> None:
    found = choose_balance([0, 0, 2], ["a", "b", "c"], "weights")
    assert found.weights == pytest.approx([0.75, 1, 1.5])
    names = [f"c{n}" for n in range(20)]
    many = choose_balance([n for n in range(20) for _ in range(n + 1)], names, "auto")
    assert many.sentence().startswith("classes weighted: c19 x0.53, c18 x0.55, c17 x0.58, ..., c2")
