"""The range test finds what it must, and leaves nothing changed."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.points import CPU, Points, bits, make_trainer, network
from torch import nn

from opsin.core.errors import WrongUsage
from opsin.training.finders.rate import (
    RateCurve,
    fastest_descent,
    longest_descent,
    rate_range,
    smooth,
)
from opsin.training.stage import Stage


def stage_of(folder: Path, **options: object) -> Stage:
    trainer = make_trainer(folder, **options)  # type: ignore[arg-type]
    return trainer.stages[0]


def test_smoothing_is_that_of_adam() -> None:
    """Adam's bias-corrected first moment of the values as gradients, computed by torch."""
    values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]
    weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
    optimizer = torch.optim.Adam([weight], lr=1e-9, betas=(0.9, 0.999))
    expected = []
    for number, value in enumerate(values, start=1):
        weight.grad = torch.tensor(value, dtype=torch.float64)
        optimizer.step()
        expected.append(float(optimizer.state[weight]["exp_avg"]) / (1 - 0.9**number))
    assert smooth(values, 0.9) == pytest.approx(expected)


def test_the_longest_descent_is_that_of_all_subsequences() -> None:
    draw = np.random.default_rng(0)
    for _ in range(40):
        losses = draw.permutation(9).astype(float).tolist()
        rates = [10.0**n for n in range(9)]
        longest = max(
            (c for n in range(1, 10) for c in itertools.combinations(range(9), n)
             if all(losses[a] > losses[b] for a, b in itertools.pairwise(c))),
            key=len,
        )  # fmt: skip
        same = [
            c for c in itertools.combinations(range(9), len(longest))
            if all(losses[a] > losses[b] for a, b in itertools.pairwise(c))
        ]  # fmt: skip
        allowed = {rates[(c[0] + c[-1]) // 2] for c in same}
        found = longest_descent(rates, losses)
        assert found in allowed or (found is None and len(longest) == 1)
    assert longest_descent([1, 2, 3], [1.0, 2.0, 3.0]) is None
    assert longest_descent([], []) is None


def test_the_fastest_descent_is_that_of_a_formula() -> None:
    """A sigmoid of log(rate) falls fastest in its middle."""
    rates = np.logspace(-6, 0, 61)
    losses = 2 / (1 + np.exp(4 * (np.log10(rates) + 2.5)))
    assert fastest_descent(rates.tolist(), losses.tolist()) == pytest.approx(10**-2.5)
    assert fastest_descent(rates.tolist(), list(range(61))) is None


def test_suggestions_of_a_known_curve() -> None:
    """Flat, down to 1e-2, then up and down again: what comes after the lowest point is noise."""
    rates = tuple(float(10 ** (n / 10 - 6)) for n in range(61))
    losses = tuple(
        2.0 - max(0, n - 20) / 20 if n <= 40 else 9.0 - 0.3 * abs(n - 50) for n in range(61)
    )
    curve = RateCurve(rates, losses, losses, "whole range")
    assert curve.tenth == pytest.approx(1e-3)
    assert curve.steepest is not None
    assert 1e-4 <= curve.steepest <= 1e-2
    assert curve.valley == pytest.approx(1e-3)


def test_nothing_is_suggested_where_the_loss_is_noise() -> None:
    losses = tuple(2.3 + 0.01 * math.sin(n) for n in range(50))
    curve = RateCurve(tuple(1.1**n for n in range(50)), losses, losses, "whole range")
    assert (curve.tenth, curve.valley, curve.steepest) == (None, None, None)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_range_test_on_points(tmp_path: Path, optimizer: str) -> None:
    """The suggested rate learns in twenty steps, and a hundredth of it does not."""
    stage = stage_of(tmp_path, optimizer=optimizer)
    model = stage.step.module
    before, rng = bits(model), torch.get_rng_state()
    state = repr(stage.step.optimizers["optimizer"].state_dict())
    seen: list[tuple[int, int]] = []
    curve = rate_range(stage, device=CPU, on_step=lambda done, total: seen.append((done, total)))
    assert bits(model) == before
    assert torch.equal(torch.get_rng_state(), rng)
    assert repr(stage.step.optimizers["optimizer"].state_dict()) == state
    assert all(p.grad is None for p in model.parameters())
    assert seen[-1] == (100, 100)
    assert curve.rates[0] == pytest.approx(1e-7)
    ratios = {round(b / a, 6) for a, b in itertools.pairwise(curve.rates)}
    assert len(ratios) == 1
    assert curve.tenth is not None

    def after(rate: float) -> float:
        trainer = make_trainer(tmp_path / f"{rate:g}", optimizer=optimizer, lr=rate, epochs=4)
        return trainer.fit().records[-1].values["train_loss"]

    assert after(curve.tenth) < 0.7 * after(curve.tenth / 100)
    assert curve == rate_range(stage, device=CPU), "the same twice"


def test_a_rate_that_diverges_ends_the_test_early(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 16), nn.Linear(16, 3))
    curve = rate_range(stage_of(tmp_path, model=model, optimizer="sgd"), device=CPU, highest=1e6)
    assert curve.ended in ("diverged", "not finite")
    assert len(curve.rates) < 100
    assert all(map(math.isfinite, curve.losses))


def test_not_a_number_at_the_first_step(tmp_path: Path) -> None:
    model = network()
    with torch.no_grad():
        model[4].weight[0, 0] = math.nan
    curve = rate_range(stage_of(tmp_path, model=model), device=CPU)
    assert curve.ended == "not finite"
    assert (curve.rates, curve.tenth, curve.valley, curve.steepest) == ((), None, None, None)


def test_a_range_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match=r"came 1 to 0\.1 in 100"):
        rate_range(stage_of(tmp_path), device=CPU, lowest=1, highest=0.1)


def test_epochs_follow_each_other(tmp_path: Path) -> None:
    """More steps than an epoch has batches: 6 of them here, so 100 steps are 17 epochs."""
    train = Points(90, 1, shuffle=True)
    asked: list[int] = []
    epoch = train.epoch
    train.epoch = lambda n, start=0: (asked.append(n), epoch(n, start))[1]  # type: ignore[method-assign]
    rate_range(stage_of(tmp_path, train=train), device=CPU, highest=1e-3)
    assert asked == list(range(1, 18))
