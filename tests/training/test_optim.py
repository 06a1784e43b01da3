"""Optimizers against torch's own, and groups against timm's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from opsin.core.errors import WrongUsage
from opsin.models.timm_adapter import TimmClassifier
from opsin.training.optim import (
    OPTIMIZERS,
    learning_blocks,
    make_optimizer,
    parameter_groups,
    set_rate,
)
from opsin.training.snapshot import pack_optimizer, unpack_optimizer

THEIRS: dict[str, Any] = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.0, fused=True),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.1),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, fused=True),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(16, 4, generator=draw)).square().mean().backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def by_parameter(groups: Iterable[dict[str, Any]], share: str) -> dict[int, tuple[float, float]]:
    return {id(p): (g[share], g["weight_decay"]) for g in groups for p in g["params"]}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equals_torch(name: str) -> None:
    ours, theirs = network(), network()
    moved = learn(ours, make_optimizer(name, ours.parameters(), lr=0.1))
    assert torch.equal(moved, learn(theirs, THEIRS[name](theirs.parameters())))
    assert not torch.equal(moved, learn(network(), make_optimizer(name, [nn.Parameter()], lr=0.1)))


def test_momentum_is_of_sgd_and_rmsprop() -> None:
    def made(name: str, **options: Any) -> dict[str, Any]:
        return make_optimizer(name, network().parameters(), lr=0.1, **options).param_groups[0]

    assert made("rmsprop")["momentum"] == 0
    assert made("rmsprop", momentum=0.9)["momentum"] == 0.9
    assert made("sgd", momentum=0.5, nesterov=False)["nesterov"] is False
    assert made("sgd", momentum=0.5)["momentum"] == 0.5
    assert "momentum" not in made("adam", momentum=0.5)
    plain = made("sgd", momentum=0.0)
    assert (plain["momentum"], plain["nesterov"]) == (0, False)


def test_plain_sgd_is_the_formula() -> None:
    weight = nn.Parameter(torch.tensor([[2.0, -1.0]]))
    optimizer = make_optimizer("sgd", [weight], lr=0.1, weight_decay=0.5, momentum=0.0)
    for _ in range(2):
        weight.grad = torch.tensor([[1.0, 1.0]])
        optimizer.step()
    expected = [w - 0.1 * (1 + 0.5 * w) for w in (2.0, -1.0)]
    expected = [w - 0.1 * (1 + 0.5 * w) for w in expected]
    assert weight.tolist()[0] == pytest.approx(expected)


def test_biases_and_norms_do_not_decay() -> None:
    model = network()
    optimizer = make_optimizer("adamw", model.parameters(), lr=1.0, weight_decay=0.1)
    decays = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert {name: decays[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.1, "0.bias": 0, "1.weight": 0, "1.bias": 0, "3.weight": 0.1, "3.bias": 0,
    }  # fmt: skip


def test_unknown_optimizer() -> None:
    with pytest.raises(WrongUsage, match='did you mean "adamw"'):
        make_optimizer("adamww", network().parameters(), lr=0.1)


@pytest.mark.parametrize("name", ["resnet18", "test_vit"])
def test_layer_decay_equals_timm(name: str) -> None:
    model = timm.create_model(name)
    theirs = param_groups_layer_decay(model, weight_decay=0.1, layer_decay=0.7)
    ours = parameter_groups(model, model.parameters(), weight_decay=0.1, layer_decay=0.7)
    expected = by_parameter(theirs, "lr_scale")
    found = by_parameter(ours, "rate_share")
    assert len({share for share, _ in found.values()}) > 3
    assert found.keys() == expected.keys()
    for key, values in found.items():
        assert values == pytest.approx(expected[key])


def test_layer_decay_of_mobilenet_counts_one_block_more_than_timm() -> None:
    """There the last convolution goes with the block below it; here it is a block of its own."""
    model = timm.create_model("mobilenetv2_100")
    theirs = by_parameter(
        param_groups_layer_decay(model, weight_decay=0.1, layer_decay=0.7), "lr_scale"
    )
    ours = by_parameter(
        parameter_groups(model, model.parameters(), weight_decay=0.1, layer_decay=0.7), "rate_share"
    )
    for name, parameter in model.named_parameters():
        more = 1.0 if name.startswith(("conv_head", "bn2", "classifier")) else 0.7
        assert ours[id(parameter)][0] == pytest.approx(theirs[id(parameter)][0] * more), name


class TwoParts(nn.Module):
    """A backbone of a stem, a norm, two blocks and a loose parameter, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.token = nn.Parameter(torch.zeros(1, 4))
        self.backbone.stem = nn.Linear(4, 8)
        self.backbone.norm = nn.LayerNorm(8)
        self.backbone.blocks = nn.ModuleList([nn.Linear(8, 8), nn.TransformerEncoderLayer(8, 2)])
        self.head = nn.Linear(8, 3)


def depths(module: nn.Module) -> dict[str, int]:
    groups = parameter_groups(module, module.parameters(), weight_decay=0.1, layer_decay=0.5)
    found = {id(p): group["depth"] for group in groups for p in group["params"]}
    return {name: found[id(p)] for name, p in module.named_parameters()}


def test_blocks_of_a_module_of_ones_own() -> None:
    found = depths(TwoParts())
    assert found["head.weight"] == found["head.bias"] == 0
    assert {v for k, v in found.items() if k.startswith("backbone.blocks.1.")} == {1}
    assert found["backbone.blocks.0.weight"] == 2
    assert {v for k, v in found.items() if "blocks" not in k and k.startswith("b")} == {3}

    assert depths(network()) == {
        "0.weight": 1, "0.bias": 1, "1.weight": 1, "1.bias": 1, "3.weight": 0, "3.bias": 0,
    }  # fmt: skip
    assert depths(nn.Linear(2, 2)) == {"weight": 0, "bias": 0}
    assert learning_blocks(nn.ReLU()) == []


def test_what_holds_layers_is_opened() -> None:
    layer = nn.TransformerEncoderLayer(4, 2)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    found = depths(nn.Sequential(nn.Linear(4, 4), encoder, nn.Linear(4, 3)))
    assert {found[f"1.layers.0.{inside}.weight"] for inside in ("linear1", "norm2")} == {2}
    assert {found[f"1.layers.1.{inside}.weight"] for inside in ("linear1", "norm2")} == {1}
    assert (found["0.weight"], found["2.weight"]) == (3, 0)


def test_a_backbone_has_the_depths_that_it_has_alone() -> None:
    alone = depths(timm.create_model("test_resnet"))
    ours = depths(TimmClassifier("test_resnet", 3))
    backbone = {k.removeprefix("backbone."): v for k, v in ours.items() if "head" not in k}
    assert backbone == {k: v for k, v in alone.items() if not k.startswith("fc.")}
    assert max(backbone.values()) > 3


def test_each_block_learns_at_its_share() -> None:
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    groups = parameter_groups(model, model.parameters(), weight_decay=0.0, layer_decay=0.25)
    optimizer = make_optimizer("sgd", groups, lr=9.0, momentum=0.0)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [2.25, 9.0]
    set_rate(optimizer, 0.4)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    with torch.no_grad():
        steps = [float((b - p).mean()) for b, p in zip(before, model.parameters(), strict=True)]
    assert steps == pytest.approx([0.1] * 4 + [0.4] * 2, abs=1e-6)


def test_only_what_learns_is_grouped_and_strangers_learn_like_the_head() -> None:
    model, stranger = network(), nn.Parameter(torch.zeros(2, 2))
    learning = [*model[3].parameters(), stranger, stranger]
    groups = parameter_groups(model, learning, weight_decay=0.1, layer_decay=0.5)
    assert [(len(g["params"]), g["depth"], g["rate_share"]) for g in groups] == [
        (2, 0, 1.0), (1, 0, 1.0),
    ]  # fmt: skip


def test_without_layer_decay_there_are_two_groups() -> None:
    model = network()
    groups = parameter_groups(model, model.parameters(), weight_decay=0.1)
    assert [(g["weight_decay"], g["rate_share"], g["depth"]) for g in groups] == [
        (0.1, 1.0, 0), (0.0, 1.0, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_groups_survive_a_state_as_json(name: str) -> None:
    def made(model: nn.Module) -> torch.optim.Optimizer:
        groups = parameter_groups(model, model.parameters(), weight_decay=0.1, layer_decay=0.5)
        return make_optimizer(name, groups, lr=0.01)

    whole, cut = network(), network()
    first, second = made(whole), made(cut)
    learn(whole, first)
    learn(cut, second)
    state = second.state_dict()
    again = made(cut)
    again.load_state_dict(state | {"param_groups": json.loads(json.dumps(state["param_groups"]))})
    set_rate(again, 0.02)
    set_rate(first, 0.02)
    assert sorted({group["lr"] for group in again.param_groups}) == [0.01, 0.02]
    assert torch.equal(learn(whole, first), learn(cut, again))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_goes_on_from_plain_states_with_the_same_bits(name: str) -> None:
    """Checkpoints hold tensors plainly; here the weights have their channels last."""

    def made() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten())
        model = model.to(memory_format=torch.channels_last)
        return model, make_optimizer(name, model.parameters(), lr=0.01)

    def steps(model: nn.Module, optimizer: torch.optim.Optimizer, numbers: range) -> None:
        for number in numbers:
            draw = torch.Generator().manual_seed(number)
            optimizer.zero_grad()
            model(torch.randn(4, 3, 8, 8, generator=draw)).square().mean().backward()
            optimizer.step()

    whole, optimizer = made()
    steps(whole, optimizer, range(3))
    state, tensors = pack_optimizer(optimizer)
    plain = {name: value.contiguous().clone() for name, value in tensors.items()}
    weights = {key: value.clone() for key, value in whole.state_dict().items()}
    steps(whole, optimizer, range(3, 6))
    again, other = made()
    again.load_state_dict(weights)
    unpack_optimizer(other, state, plain)
    steps(again, other, range(3, 6))
    for one, two in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
