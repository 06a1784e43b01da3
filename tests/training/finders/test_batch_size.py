"""Which sizes are tried, which fits, and what is recommended."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.points import CPU, Points, bits, make_step, make_trainer, network

from opsin.core.batch import Batch
from opsin.core.errors import NotEnoughMemory
from opsin.training.finders import batch_size as room
from opsin.training.finders.batch_size import BatchSizes, Throughput, batch_sizes
from opsin.training.finders.batches import batch_of
from opsin.training.supervised import SupervisedStep


def test_all_data_in_one_batch_and_nothing_changed(tmp_path: Path) -> None:
    stage = make_trainer(tmp_path, step={}).stages[0]
    assert isinstance(stage.step, SupervisedStep)
    stage.step.micro.accumulate = 4
    before, micro = bits(stage.step.module), stage.step.micro
    sizes: list[int] = []
    found = batch_sizes(stage, device=CPU, on_size=lambda size, _: sizes.append(size))
    assert (found.largest, found.limit, found.proved) == (90, "data", True)
    assert sizes[-1] == 90
    assert [row.samples for row in found.rows] == [2**n for n in range(1, len(found.rows) + 1)]
    assert found.best in found.rows
    assert bits(stage.step.module) == before
    assert stage.step.micro is micro
    assert (micro.accumulate, micro.size) == (4, None)


def test_memory_is_the_limit(tmp_path: Path) -> None:
    """Just enough for the libraries and some samples, by the estimate."""
    stage = make_trainer(tmp_path).stages[0]
    found = batch_sizes(stage, device=CPU, available=int(32_030_000 / 0.8))
    assert found.limit == "memory"
    assert 2 <= found.largest < 90
    assert found.rows[-1].samples <= found.largest
    with pytest.raises(NotEnoughMemory, match="a step of one sample needs about 32"):
        batch_sizes(stage, device=CPU, available=30_000_000)


@pytest.mark.parametrize("limit", [1, 2, 3, 37, 64, 89, 90, 500])
def test_doubling_and_bisecting_where_the_device_says_no(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """A device that holds `limit` samples: out of memory above, as CUDA says it."""
    step = make_step(model := network(), model.parameters())
    tried: list[int] = []

    def refuse(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        tried.append(len(inputs[0]))
        if len(inputs[0]) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    model[4].register_forward_pre_hook(refuse)
    step.begin(CPU, room.ALONE)
    model.eval()  # one sample is too few for batch-norm
    pool = next(Points(90, 1, shuffle=True).epoch(1))
    trial = room._Trial(step, pool, 0.01)
    found = trial.bisected(90, lambda size, most: None)
    expected = min(limit, 90)
    assert expected - max(0, expected // 16) <= found <= expected
    assert len(tried) < 60


def test_a_device_that_holds_no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    step = make_step(model := network(), model.parameters())
    trial = room._Trial(step, next(Points(90, 1, shuffle=True).epoch(1)), 0.01)
    monkeypatch.setattr(trial, "fits", lambda samples: False)
    with pytest.raises(NotEnoughMemory, match="one sample does not fit"):
        trial.bisected(90, lambda size, most: None)


def test_the_smallest_of_the_nearly_fastest_is_recommended() -> None:
    rows = tuple(
        Throughput(samples, samples / speed, 0)
        for samples, speed in ((2, 100), (4, 380), (8, 397), (16, 400), (32, 350))
    )
    assert BatchSizes(64, "memory", True, 0, rows).best.samples == 4


def test_batches_of_any_size_repeat_the_pool() -> None:
    pool = Batch(
        torch.arange(3.0)[:, None], {"a": torch.arange(3), "b": ["x", "y", "z"]}, tuple("pqr")
    )
    batch = batch_of(pool, 5)
    assert batch.inputs[:, 0].tolist() == [0, 1, 2, 0, 1]
    assert batch.targets["a"].tolist() == [0, 1, 2, 0, 1]
    assert batch.targets["b"] == ["x", "y", "z", "x", "y"]
    assert batch.ids == tuple("pqrpq")
