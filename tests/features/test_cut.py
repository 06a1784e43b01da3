"""Front then tail is the whole backbone, by the same modules."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from opsin.core.errors import WrongUsage
from opsin.features.cut import allowed, before, cut, outputs_bytes
from opsin.models.build import Origin, build, design


def backbone(name: str, size: int) -> nn.Module:
    return build(design(name, Origin(), image_size=size), Origin(), 3, seed=0).backbone


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        ("timm:mobilenetv2_100", "blocks.5"),
        ("timm:mobilenetv2_100", "backbone.blocks.5.1"),
        ("timm:mobilenetv2_100", "conv_head"),
        ("timm:resnet18", "layer3"),
        ("timm:vit_tiny_patch16_224", "blocks.9"),
        ("tinyvgg", "5"),
    ],
)
def test_the_same_outputs(model: str, layer: str) -> None:
    size = 224 if "vit" in model else 64
    whole = backbone(model, size)
    parts = cut(whole, layer)
    assert parts is not None
    own = {id(p) for p in whole.parameters()}
    front, tail = ({id(p) for p in each.parameters()} for each in (parts.front, parts.tail))
    assert front | tail == own
    assert not front & tail
    inputs = torch.randn(3, 3, size, size)
    for part in (whole, parts.front, parts.tail):
        part.eval()
    with torch.no_grad():
        middle = parts.front(inputs)
        torch.testing.assert_close(parts.tail(middle), whole(inputs), atol=1e-5, rtol=1e-5)
    assert outputs_bytes(parts.front, (size, size)) == middle[0].numel() * 4


def test_training_mode_reaches_the_tail() -> None:
    whole = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 4), nn.Dropout(0.5))
    parts = cut(whole, "1")
    assert parts is not None
    parts.tail.train()
    assert whole[2].training
    found = parts.tail(torch.ones(50, 4))
    assert (found == 0).any()
    parts.tail.eval()
    assert not (parts.tail(torch.ones(50, 4)) == 0).any()


class Skips(nn.Module):
    """What `stem` gives is used after `body`, too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Linear(3, 3), nn.Linear(3, 3)
        self.end, self.last = nn.Linear(3, 3), nn.Linear(3, 2)
        self.unused = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        there = self.stem(x)
        found: torch.Tensor = self.last(self.end(self.body(there)) + there)
        return found


def test_only_where_one_tensor_goes_on() -> None:
    whole = Skips()
    assert allowed(whole) == ["body", "last"] or allowed(whole) == ["last"]
    with pytest.raises(WrongUsage, match=r"nothing can begin at end: .*Allowed: .*last") as caught:
        cut(whole, "end")
    assert caught.value.where == "unfreeze"
    with pytest.raises(WrongUsage, match="called 0 times"):
        cut(whole, "unused")
    with pytest.raises(WrongUsage, match='unknown layer "boddy"'):
        cut(whole, "boddy")
    parts = cut(whole, "last")
    assert parts is not None
    assert {id(p) for p in parts.tail.parameters()} == {id(p) for p in whole.last.parameters()}


def test_names_are_listed_for_a_real_one() -> None:
    names = allowed(backbone("timm:mobilenetv2_100", 64))
    assert {"blocks.0", "blocks.6", "blocks.5.1", "conv_head"} <= set(names)
    assert "conv_stem" not in names, "nothing lies before it"
    assert "blocks.5.1.conv_dw" not in names, "the sum of the block needs what came before"


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.b(self.a(x)) if float(x.sum()) > 0 else self.b(x)
        return found


class OtherInTraining(Untraceable):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.b(self.a(x) * 2 if self.training else self.a(x))
        return found


@pytest.mark.parametrize("kind", [Untraceable, OtherInTraining])
def test_what_cannot_be_traced(kind: type[Untraceable]) -> None:
    whole = kind()
    assert cut(whole, "b") is None
    assert whole.training
    kept, learning = before(whole, "b")
    assert kept == [whole.a]
    assert [id(p) for p in learning] == [id(p) for p in whole.b.parameters()]
