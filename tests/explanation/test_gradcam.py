"""Grad-CAM against the paper's formula written out by hand, and on a net whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from opsin.core.errors import WrongUsage
from opsin.explanation.gradcam import grad_cam, last_conv
from opsin.explanation.registry import EXPLANATIONS


class Net(nn.Module):
    """Two convolutions with an in-place ReLU after the second: 3 H W -> 5 H/2 W/2 -> K."""

    def __init__(self, outputs: int, *, inplace: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 5, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=inplace)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(5, outputs)

    def after(self, activations: Tensor) -> Tensor:
        return self.head(self.drop(self.relu(activations).mean((2, 3))))

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.second(torch.tanh(self.norm(self.first(x)))))


def by_hand(net: Net, x: Tensor, output: int, sign: float) -> np.ndarray:
    """Equations 1 and 2 for one picture (3 H W): alpha_k = mean of dy/dA_k; ReLU(sum alpha A)."""
    with torch.no_grad():
        activations = net.second(torch.tanh(net.norm(net.first(x[None]))))
    activations.requires_grad_(True)
    y = sign * net.after(activations.clone())[0, output]
    y.backward(inputs=[activations])
    a, g = activations.detach().numpy()[0], activations.grad.numpy()[0]
    alpha = g.reshape(g.shape[0], -1).mean(1)
    small = np.maximum(np.tensordot(alpha, a, axes=1), 0)
    heat = bilinear(small, x.shape[1], x.shape[2])
    return heat / heat.max() if heat.max() > 0 else heat


def bilinear(small: np.ndarray, height: int, width: int) -> np.ndarray:
    """Sample at pixel centres, edges repeated."""

    def weights(size: int, source: int) -> np.ndarray:
        matrix = np.zeros((size, source))
        for i in range(size):
            at = min(max((i + 0.5) * source / size - 0.5, 0), source - 1)
            low = int(at)
            high = min(low + 1, source - 1)
            matrix[i, low] += 1 - (at - low)
            matrix[i, high] += at - low
        return matrix

    return weights(height, small.shape[0]) @ small @ weights(width, small.shape[1]).T


def make(outputs: int, *, inplace: bool = False) -> tuple[Net, Tensor]:
    torch.manual_seed(3)
    net = Net(outputs, inplace=inplace).double()
    net.norm.running_mean.uniform_(-0.2, 0.2)
    return net, torch.randn(4, 3, 12, 20, dtype=torch.float64)


@pytest.mark.parametrize("inplace", [False, True])
def test_equals_the_formula(inplace: bool) -> None:
    net, x = make(3, inplace=inplace)
    net.train()
    net.norm.eval()  # a frozen norm inside a training model keeps its own mode
    heat = grad_cam(net, net.second, x, [0, 1, 2, 1])
    modes = {name: m.training for name, m in net.named_modules()}
    assert modes["norm"] is False
    assert modes["drop"] is True
    assert modes[""] is True
    net.eval()
    for i, output in enumerate([0, 1, 2, 1]):
        np.testing.assert_allclose(
            heat[i].numpy(), by_hand(net, x[i], output, 1.0), rtol=1e-10, atol=1e-12
        )
    assert heat.amax() == 1
    assert heat.amin() >= 0
    assert heat.std(dim=(1, 2)).min() > 0.01  # four maps, none of them flat


def test_one_logit_explains_both_classes() -> None:
    net, x = make(1)
    net.eval()
    heat = grad_cam(net, net.second, x, [1, 0, 1, 0])
    for i, sign in enumerate([1.0, -1.0, 1.0, -1.0]):
        np.testing.assert_allclose(
            heat[i].numpy(), by_hand(net, x[i], 0, sign), rtol=1e-10, atol=1e-12
        )
    other = grad_cam(net, net.second, x, [0, 1, 0, 1])
    assert not torch.allclose(heat, other)


def test_a_flat_output_of_one_logit_works_too() -> None:
    net, x = make(1)
    flat = nn.Sequential(net, nn.Flatten(0))
    torch.testing.assert_close(
        grad_cam(flat, net.second, x, [1, 0, 1, 0]), grad_cam(net, net.second, x, [1, 0, 1, 0])
    )


def test_frozen_model_and_grad_state_are_left_alone() -> None:
    net, x = make(3)
    want = grad_cam(net, net.second, x, [0, 1, 2, 0])
    net.requires_grad_(False)
    net.head.weight.requires_grad_(True)
    net.head.weight.grad = torch.full_like(net.head.weight, 7.0)
    with torch.no_grad():
        got = grad_cam(net, net.second, x, [0, 1, 2, 0])
        assert not torch.is_grad_enabled()
    torch.testing.assert_close(got, want)
    assert not got.requires_grad
    assert not x.requires_grad
    assert (net.head.weight.grad == 7).all()
    assert [name for name, p in net.named_parameters() if p.requires_grad] == ["head.weight"]
    assert all(p.grad is None for name, p in net.named_parameters() if name != "head.weight")
    assert not net.second._forward_hooks


def test_works_on_inputs_made_in_inference_mode() -> None:
    net, x = make(3)
    with torch.inference_mode():
        got = grad_cam(net, net.second, x * 1, [0, 1, 2, 0])
    torch.testing.assert_close(got, grad_cam(net, net.second, x, [0, 1, 2, 0]), check_stride=False)


def test_heat_lies_on_the_red_square() -> None:
    """A net built by hand: channel 0 answers to red, channel 1 to blue; class k is channel k."""
    conv = nn.Conv2d(3, 2, 3, padding=1, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 0], conv.weight[0, 1], conv.weight[0, 2] = 1 / 9, -1 / 9, -1 / 9
        conv.weight[1, 2], conv.weight[1, 0], conv.weight[1, 1] = 1 / 9, -1 / 9, -1 / 9
    net = nn.Sequential(conv, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    pictures = torch.zeros(1, 3, 32, 32)
    pictures[0, 0, 4:12, 6:14] = 1.0  # red
    pictures[0, 2, 20:28, 18:26] = 1.0  # blue
    red, blue = grad_cam(net, conv, pictures.repeat(2, 1, 1, 1), [0, 1])
    assert red[5:11, 7:13].min() > 0.99
    assert red[3:13, 5:15].sum() / red.sum() > 0.99
    assert blue[21:27, 19:25].min() > 0.99
    assert blue[3:13, 5:15].sum() < 1e-6


def test_no_positive_evidence_gives_zeros() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.constant_(net[0].weight, 1.0)
    heat = grad_cam(net, net[0], torch.ones(2, 1, 4, 4), [0, 1])
    assert (heat[0] == 0).all()
    assert (heat[1] == 1).all()


def test_last_conv_goes_by_the_order_of_running() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.squeeze = nn.Conv2d(4, 4, 1)  # sees 1 x 1 only, as in squeeze-and-excitation
            self.runs_last = nn.Conv2d(4, 4, 3, padding=1)
            self.never_runs = nn.Conv2d(9, 9, 3)
            self.runs_first = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.runs_last(self.runs_first(x))
            return (x * self.squeeze(x.mean((2, 3), keepdim=True))).mean((2, 3))

    net = Backwards()
    net.train()
    assert last_conv(net, torch.zeros(1, 3, 8, 8)) is net.runs_last
    assert net.training
    assert all(not m._forward_hooks for m in net.modules())


def test_wrong_usage_is_explained() -> None:
    net, x = make(3)
    with pytest.raises(WrongUsage, match="no convolution with a spatial output"):
        last_conv(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(1, 3, 2, 2))
    with pytest.raises(WrongUsage, match="and 3 outputs"):
        grad_cam(net, net.second, x, [0, 1, 2])
    with pytest.raises(WrongUsage, match="from 0 to 2; got 3"):
        grad_cam(net, net.second, x, [0, 1, 2, 3])
    with pytest.raises(WrongUsage, match="Linear gave"):
        grad_cam(net, net.head, x, [0, 1, 2, 0])
    with pytest.raises(WrongUsage, match="did not run"):
        grad_cam(net, nn.Conv2d(1, 1, 1), x, [0, 1, 2, 0])
    assert net.training


def test_registered() -> None:
    assert EXPLANATIONS.load("gradcam") is grad_cam
