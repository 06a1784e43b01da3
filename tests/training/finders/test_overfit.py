"""One batch by heart."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tests.training.points import CPU, bits, make_trainer, network
from torch import nn

from opsin.training.finders.overfit import Memorised, overfit


def test_a_sound_model_learns_one_batch_by_heart_and_is_as_before(tmp_path: Path) -> None:
    stage = make_trainer(tmp_path, lr=0.02).stages[0]
    before = bits(stage.step.module)
    dropout = stage.step.module[3]  # type: ignore[index]
    seen: list[bool] = []
    dropout.register_forward_hook(lambda part, *_: seen.append(part.training))
    found = overfit(stage, device=CPU)
    assert found.passed
    assert found.samples == 16
    assert found.losses[-1] <= 0.05 * found.losses[0]
    assert all(loss > 0.05 * found.losses[0] for loss in found.losses[:-1])
    assert bits(stage.step.module) == before
    assert seen
    assert not any(seen), "dropout is off"
    assert dropout.training
    assert found.learning == found.parameters


class Blind(nn.Module):
    """Looks at nothing: the fault that the test is for."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.inner(torch.zeros_like(x))
        return outputs


def test_a_model_that_is_blind_fails(tmp_path: Path) -> None:
    found = overfit(make_trainer(tmp_path, model=Blind()).stages[0], device=CPU, steps=60)
    assert not found.passed
    assert len(found.losses) == 60
    assert found.fault in ("stands", "falls slowly")


def test_frozen_layers_are_counted(tmp_path: Path) -> None:
    stage = make_trainer(tmp_path, stages=2, lr=1e-9).stages[0]
    found = overfit(stage, device=CPU, steps=3)
    assert (found.learning, found.fault) == (16 * 3 + 3, "stands")
    assert found.parameters == sum(p.numel() for p in network().parameters())


def test_a_loss_that_is_not_finite_ends_it(tmp_path: Path) -> None:
    model = network()
    with torch.no_grad():
        model[0].weight[0, 0] = math.inf
    found = overfit(make_trainer(tmp_path, model=model).stages[0], device=CPU)
    assert (len(found.losses), found.passed, found.fault) == (1, False, "not finite")


@pytest.mark.parametrize(
    ("losses", "fault"),
    [
        ((2.0, 1.0, 5.0), "rises"),
        ((2.0, 1.95, 2.01), "stands"),
        ((2.0, 1.5, 1.0), "falls slowly"),
        ((2.0, math.nan), "not finite"),
    ],
)
def test_what_the_losses_look_like(losses: tuple[float, ...], fault: str) -> None:
    assert Memorised(losses, 4, 1, 1).fault == fault
