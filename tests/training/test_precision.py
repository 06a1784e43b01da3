"""Mixed precision on the processor: the same learning, and float16's scale."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Literal

import pytest
import torch
from torch import nn

from opsin.core.errors import NumbersWrong, WrongUsage
from opsin.training.precision import MIN_SCALE, Precision

CPU = torch.device("cpu")
Name = Literal["float32", "bfloat16", "float16"]
NAMES: list[Name] = ["float32", "bfloat16", "float16"]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )


DRAW = torch.Generator().manual_seed(1)
INPUTS = torch.rand(24, 1, 6, 6, generator=DRAW)
TARGETS = torch.arange(24) % 3


def step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    *,
    inputs: torch.Tensor = INPUTS,
) -> float:
    optimizer.zero_grad()
    with precision.autocast():
        outputs = model(inputs)
    loss = nn.functional.cross_entropy(outputs.float(), TARGETS)
    precision.scale(loss).backward()
    precision.unscale(optimizer)
    precision.step(optimizer)
    return float(loss.detach())


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def losses(name: Name, steps: int = 30) -> list[float]:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    precision = Precision(name, CPU)
    return [step(model, optimizer, precision) for _ in range(steps)]


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_learns_as_float32_does(name: Name) -> None:
    full, mixed = losses("float32"), losses(name)
    assert full[-1] < full[0] / 2
    assert mixed != full
    assert mixed == pytest.approx(full, rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_computes_in_its_own_type_and_keeps_weights_in_float32(name: Name) -> None:
    model, precision = network(), Precision(name, CPU)
    step(model, torch.optim.SGD(model.parameters(), lr=0.1), precision)
    with precision.autocast():
        assert model(INPUTS).dtype == getattr(torch, name)
    assert {v.dtype for v in model.parameters()} == {torch.float32}


def test_float32_is_the_plain_step() -> None:
    ours, theirs = network(), network()
    precision = Precision("float32", CPU)
    step(ours, torch.optim.SGD(ours.parameters(), lr=0.1), precision)
    nn.functional.cross_entropy(theirs(INPUTS), TARGETS).backward()
    torch.optim.SGD(theirs.parameters(), lr=0.1).step()
    assert torch.equal(weights(ours), weights(theirs))
    assert precision.state() == {}


def test_unscaled_gradients_have_their_true_size() -> None:
    ours, theirs = network(), network()
    precision = Precision("float16", CPU)
    with precision.autocast():
        outputs = ours(INPUTS)
    precision.scale(nn.functional.cross_entropy(outputs.float(), TARGETS)).backward()
    precision.unscale(torch.optim.SGD(ours.parameters(), lr=0.1))
    nn.functional.cross_entropy(theirs(INPUTS), TARGETS).backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0.02, atol=2e-3)


def overflow(model: nn.Module, optimizer: torch.optim.Optimizer, precision: Precision) -> bool:
    optimizer.zero_grad()
    precision.scale(sum(p.sum() for p in model.parameters())).backward()
    next(model.parameters()).grad[0] = torch.inf  # type: ignore[index]
    precision.unscale(optimizer)
    return precision.step(optimizer)


def test_a_step_that_overflows_is_left_out_and_halves_the_scale() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    precision = Precision("float16", CPU)
    step(model, optimizer, precision)
    before, scale = weights(model), precision.state()["scale"]
    assert overflow(model, optimizer, precision) is False
    assert torch.equal(weights(model), before)
    assert precision.state()["scale"] == scale / 2
    step(model, optimizer, precision)
    assert not torch.equal(weights(model), before)
    assert precision.state()["scale"] == scale / 2


def test_gradients_that_stay_infinite_are_an_error() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    precision = Precision("float16", CPU)
    precision.load(precision.state() | {"scale": 2.5 * MIN_SCALE})
    assert overflow(model, optimizer, precision) is False
    with pytest.raises(NumbersWrong, match="stay infinite"):
        overflow(model, optimizer, precision)


def test_a_state_gives_the_same_continuation() -> None:
    """Cut between two growths of the scale, so that the count of good steps matters too."""

    def begin() -> tuple[nn.Module, torch.optim.Optimizer, Precision]:
        model = network()
        precision = Precision("float16", CPU)
        precision.load(precision.state() | {"growth_interval": 4, "scale": 8.0})
        return model, torch.optim.SGD(model.parameters(), lr=0.1), precision

    model, optimizer, whole = begin()
    scales = []
    for _ in range(9):
        step(model, optimizer, whole)
        scales.append(whole.state()["scale"])
    assert scales == [8, 8, 8, 16, 16, 16, 16, 32, 32]

    other, optimizer, first = begin()
    for _ in range(6):
        step(other, optimizer, first)
    second = Precision("float16", CPU)
    second.load(json.loads(json.dumps(first.state())))
    for _ in range(3):
        step(other, optimizer, second)
    assert second.state() == whole.state()
    assert torch.equal(weights(model), weights(other))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_drawn(name: Name) -> None:
    before = torch.get_rng_state()
    Precision(name, CPU)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
@pytest.mark.parametrize("device", ["meta", "cuda", "mps"])
def test_what_a_device_cannot_do_is_refused(name: Name, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has MPS")
    with pytest.raises(WrongUsage, match=f"{device} cannot train in {name}") as caught:
        Precision(name, torch.device(device))
    assert caught.value.where == "precision"


def test_a_device_that_goes_on_in_float32_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The autocast of torch switches itself off with a warning where it cannot."""
    monkeypatch.setattr(Precision, "autocast", lambda self: nullcontext())
    with pytest.raises(WrongUsage, match=r"came out as torch\.float32"):
        Precision("bfloat16", CPU)
