"""FAULTS rows 25 and 26: memory that does not suffice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.points import KillAt, Killed, bits, make_trainer
from torch import nn

from opsin.core.errors import NotEnoughMemory
from opsin.core.micro_batch import MicroBatch
from opsin.training.checkpoint import CheckpointStore


class Greedy(nn.Module):
    """Finds no memory for more than `limit` rows; counts what went through."""

    def __init__(self, inner: nn.Module, limit: int) -> None:
        super().__init__()
        self.inner = inner
        self.limit = limit
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.inner(x)
        if len(x) > self.limit:
            torch.rand(3)  # what was drawn before it failed must not show
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 GB")
        self.seen.append(len(x))
        return hidden


def plain(*, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    middle: list[nn.Module] = [nn.BatchNorm1d(16)] if norm else []
    return nn.Sequential(nn.Linear(2, 16), *middle, nn.ReLU(), nn.Linear(16, 3))


def test_row_25_the_step_is_repeated_in_parts_and_stays_the_same(tmp_path: Path) -> None:
    said: list[str] = []
    whole = make_trainer(tmp_path / "a", epochs=2, model=plain())
    whole.fit()
    greedy = Greedy(plain(), 5)
    step = {"micro": MicroBatch(say=said.append)}
    small = make_trainer(tmp_path / "b", epochs=2, model=greedy, step=step)
    small.fit()
    assert said[0] == (
        "out of memory: 16 samples at once are too many, going on with 8; the batch stays 16: "
        "the step is the same"
    )
    assert "8 samples at once are too many, going on with 4" in said[1]
    assert max(greedy.seen) <= 5
    for a, b in zip(whole.model.parameters(), greedy.inner.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_row_25_what_fitted_is_kept_in_the_checkpoint(tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / "a", epochs=2, model=Greedy(plain(), 5))
    whole.fit()
    with pytest.raises(Killed):
        make_trainer(
            tmp_path / "b", epochs=2, model=Greedy(plain(), 5), callbacks=(KillAt(2, 3),)
        ).fit()
    saved, _ = CheckpointStore(tmp_path / "b").newest()
    roomy = make_trainer(tmp_path / "b", epochs=2, model=Greedy(plain(), 99))
    roomy.fit(saved)
    assert isinstance(roomy.model, Greedy)
    assert max(n for n in roomy.model.seen[:3]) == 4
    assert bits(roomy.model) == bits(whole.model)


def test_row_25_batch_norm_is_said_and_not_counted_twice(tmp_path: Path) -> None:
    said: list[str] = []
    greedy = Greedy(plain(norm=True), 5)
    run = make_trainer(
        tmp_path / "a", epochs=1, model=greedy, step={"micro": MicroBatch(say=said.append)}
    )
    run.fit()
    assert "batch-norm now sees parts of it, which makes that another step" in said[0]
    cut = make_trainer(
        tmp_path / "b", epochs=1, model=Greedy(plain(norm=True), 99),
        step={"micro": _of_size(4)},
    )  # fmt: skip
    cut.fit()
    assert bits(run.model) == bits(cut.model)


def _of_size(size: int) -> MicroBatch:
    micro = MicroBatch()
    micro.size = size
    return micro


def test_row_25_one_sample_that_does_not_fit_ends_it(tmp_path: Path) -> None:
    run = make_trainer(tmp_path / "a", model=Greedy(plain(), 0))
    with pytest.raises(NotEnoughMemory, match="one sample at a time does not fit") as caught:
        run.fit()
    assert caught.value.exit_code == 7


def test_row_26_only_the_evaluation_is_cut(tmp_path: Path) -> None:
    class Asking(Greedy):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.limit = 99 if self.training else 5
            return super().forward(x)

    whole = make_trainer(tmp_path / "a", epochs=1, model=plain())
    model = Asking(plain(), 5)
    run = make_trainer(tmp_path / "b", epochs=1, model=model)
    expected, values = (each.fit().records[0].values for each in (whole, run))
    assert values == pytest.approx(expected, rel=1e-6)
    looked, learnt = model.seen[:1], model.seen[1:7]
    assert looked == [2]  # the estimate of the memory
    assert learnt == [16] * 5 + [10]
    assert max(model.seen[7:]) <= 5
