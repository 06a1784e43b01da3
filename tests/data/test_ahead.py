"""Batches made beforehand: in order, no more than a few, errors at their turn."""

from __future__ import annotations

import threading

import pytest
import torch

from opsin.data import ahead as module
from opsin.data.ahead import DEPTH, ahead


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: module.MANY)


def test_in_order_in_another_thread_and_not_too_far() -> None:
    made: list[int] = []
    threads = set()

    def make(item: int) -> int:
        made.append(item)
        threads.add(threading.current_thread().name)
        return item * item

    seen = []
    for value in ahead(make, range(20)):
        assert len(made) <= len(seen) + 1 + DEPTH
        seen.append(value)
    assert seen == [n * n for n in range(20)]
    assert threading.current_thread().name not in threads


def test_what_fails_is_raised_at_its_turn() -> None:
    def make(item: int) -> float:
        return 1 / (item - 3)

    found = ahead(make, range(6))
    assert [next(found) for _ in range(3)] == [-1 / 3, -0.5, -1.0]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_left_early_no_thread_stays() -> None:
    before = threading.active_count()
    found = ahead(lambda item: item, range(1000))
    next(found)
    found.close()
    assert threading.active_count() == before


def test_the_caller_keeps_its_threads() -> None:
    before = torch.get_num_threads()
    list(ahead(lambda item: torch.ones(10) * item, range(5)))
    assert torch.get_num_threads() == before
    late: list[int] = []
    other = threading.Thread(target=lambda: late.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert late == [before]


@pytest.mark.parametrize("cores", [1, 2])
def test_where_the_step_has_all_cores_everything_is_made_here(
    monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    names = list(ahead(lambda _: threading.current_thread().name, range(3)))
    assert set(names) == {threading.current_thread().name}


def test_a_core_that_is_free_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    names = list(ahead(lambda _: threading.current_thread().name, range(3)))
    assert set(names) != {threading.current_thread().name}
