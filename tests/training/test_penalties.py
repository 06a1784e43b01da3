"""Penalties against autograd of the penalised loss, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from opsin.training.penalties import add_penalties


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3)
    ).double()


def loss_of(model: nn.Module) -> torch.Tensor:
    x = torch.rand(5, 2, 4, 4, generator=torch.Generator().manual_seed(1)).double()
    value: torch.Tensor = model(x).square().mean()
    return value


@pytest.mark.parametrize(("l1", "l2"), [(0.3, 0.0), (0.0, 0.2), (0.03, 0.02)])
def test_equals_autograd_of_the_penalised_loss(l1: float, l2: float) -> None:
    ours, theirs = network(), network()
    loss_of(ours).backward()
    add_penalties(ours.parameters(), l1=l1, l2=l2)
    weights = [theirs[0].weight, theirs[3].weight]
    penalty = sum(l1 * w.abs().sum() + l2 * (w**2).sum() for w in weights)
    (loss_of(theirs) + penalty).backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-14)


def test_l2_is_half_of_weight_decay() -> None:
    weight = nn.Parameter(torch.tensor([[2.0, -3.0]]))
    weight.grad = torch.zeros_like(weight)
    add_penalties([weight], l1=0.0, l2=0.05)
    decayed = nn.Parameter(weight.detach().clone())
    decayed.grad = torch.zeros_like(decayed)
    torch.optim.SGD([weight], lr=1.0).step()
    torch.optim.SGD([decayed], lr=1.0, weight_decay=0.1).step()
    torch.testing.assert_close(weight, decayed)


def test_what_does_not_learn_pays_nothing_and_what_was_not_used_pays() -> None:
    frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    unused, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    add_penalties([frozen, unused, bias], l1=0.5, l2=0.25)
    assert frozen.grad is None
    assert bias.grad is None
    assert unused.grad is not None
    assert unused.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_nothing_when_both_are_zero() -> None:
    unused = nn.Parameter(torch.ones(2, 2))
    add_penalties([unused], l1=0.0, l2=0.0)
    assert unused.grad is None
