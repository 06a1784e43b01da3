"""Losses against torch's own and against formulas in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss
from torch import nn
from torch.nn import functional

from opsin.core.batch import Batch
from opsin.core.errors import WrongUsage
from opsin.data.balance import choose_balance
from opsin.tasks.classification import Classification
from opsin.tasks.losses import LOSSES, bce, cross_entropy, focal, huber, mae, mse

Loss = Callable[..., torch.Tensor]


def data(classes: int, outputs: int, count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(classes)
    return 3 * torch.randn(count, outputs, generator=draw), torch.arange(count) % classes


def by_hand(
    name: str, logits: torch.Tensor, targets: torch.Tensor, smoothing: float, gamma: float = 2
) -> np.ndarray:
    """From the definitions, over the K probabilities, in float64."""
    z = logits.double().numpy()
    if z.shape[1] == 1:
        z = np.concatenate([np.zeros_like(z), z], 1)
    single = logits.shape[1] == 1
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    y = np.eye(z.shape[1])[targets.numpy()] * (1 - smoothing) + smoothing / z.shape[1]
    off = (p - y)[:, 1:] if single else p - y
    sigmoid = 1 / (1 + np.exp(-z))
    one_by_one = -(y * np.log(sigmoid) + (1 - y) * np.log(1 - sigmoid))
    return {
        "cross_entropy": -(y * np.log(p)).sum(1),
        "focal": -(y * (1 - p) ** gamma * np.log(p)).sum(1),
        "bce": one_by_one[:, 1] if single else one_by_one.sum(1),
        "mse": (off**2).sum(1),
        "mae": np.abs(off).sum(1),
        "huber": 0.5 * (off**2).sum(1),
    }[name]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("classes", "outputs"), [(2, 1), (2, 2), (5, 5)])
@pytest.mark.parametrize("name", LOSSES)
def test_is_the_formula_with_its_gradient(
    name: str, classes: int, outputs: int, smoothing: float
) -> None:
    loss: Loss = LOSSES.load(name)
    logits, targets = data(classes, outputs)
    found = loss(logits, targets, label_smoothing=smoothing)
    assert found.dtype == torch.float32
    assert found.shape == (12,)
    np.testing.assert_allclose(found, by_hand(name, logits, targets, smoothing), rtol=2e-5)
    weights = torch.rand(classes)
    weighted = loss(logits, targets, label_smoothing=smoothing, class_weights=weights)
    torch.testing.assert_close(weighted, found * weights[targets])
    exact = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, targets, label_smoothing=smoothing), exact)


def test_two_classes_on_one_logit_are_two_logits() -> None:
    logit, targets = data(2, 1)
    both = torch.cat([torch.zeros_like(logit), logit], 1)
    for loss in (cross_entropy, focal):
        one = loss(logit, targets, label_smoothing=0.2)
        torch.testing.assert_close(one, loss(both, targets, label_smoothing=0.2))


def test_is_torch() -> None:
    logits, targets = data(5, 5)
    hot = functional.one_hot(targets, 5).float()
    for loss, theirs in [
        (cross_entropy, nn.CrossEntropyLoss()(logits, targets)),
        (bce, 5 * nn.BCEWithLogitsLoss()(logits, hot)),
        (mse, 5 * nn.MSELoss()(logits.softmax(1), hot)),
        (mae, 5 * nn.L1Loss()(logits.softmax(1), hot)),
        (huber, 5 * nn.HuberLoss()(logits.softmax(1), hot)),
    ]:
        torch.testing.assert_close(loss(logits, targets).mean(), theirs)
    smooth = nn.CrossEntropyLoss(label_smoothing=0.1)(logits, targets)
    torch.testing.assert_close(cross_entropy(logits, targets, label_smoothing=0.1).mean(), smooth)
    torch.testing.assert_close(focal(logits, targets, gamma=0), cross_entropy(logits, targets))


@pytest.mark.parametrize(("classes", "outputs"), [(2, 1), (4, 4)])
def test_mse_is_the_brier_score(classes: int, outputs: int) -> None:
    logits, targets = data(classes, outputs)
    p = logits.sigmoid()[:, 0] if outputs == 1 else logits.softmax(1)
    theirs = brier_score_loss(targets, p.numpy())
    assert float(mse(logits, targets).mean()) == pytest.approx(theirs, rel=1e-5)


def test_focal_is_torchvisions_for_two_classes() -> None:
    from torchvision.ops import sigmoid_focal_loss

    logits, targets = data(2, 1)
    theirs = sigmoid_focal_loss(logits, targets[:, None].float(), alpha=-1, gamma=2)[:, 0]
    torch.testing.assert_close(focal(logits, targets), theirs)


@pytest.mark.parametrize("name", LOSSES)
def test_large_logits_and_half_precision_stay_finite(name: str) -> None:
    for outputs in (1, 3):
        for dtype in (torch.float32, torch.bfloat16):
            logits = torch.tensor([[-1e3] * outputs, [1e3] * outputs], dtype=dtype)
            logits[:, -1] = torch.tensor([1e3, -1e3], dtype=dtype)
            logits.requires_grad_()
            losses = LOSSES.load(name)(logits, torch.tensor([0, 1]))
            assert losses.dtype == torch.float32
            losses.mean().backward()
            assert losses.isfinite().all()
            assert logits.grad is not None
            assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("loss", "theirs"),
    [
        (mse, functional.mse_loss),
        (mae, functional.l1_loss),
        (huber, functional.huber_loss),
        (bce, functional.binary_cross_entropy_with_logits),
    ],
)
def test_values(loss: Loss, theirs: Loss) -> None:
    outputs, wanted = 2 * torch.randn(6, 3), torch.rand(6, 3)
    found = loss(outputs, wanted)
    torch.testing.assert_close(found, theirs(outputs, wanted, reduction="none").mean(1))
    torch.testing.assert_close(found.mean(), theirs(outputs, wanted))
    column = theirs(outputs[:, 0], wanted[:, 0], reduction="none")
    torch.testing.assert_close(loss(outputs[:, 0], wanted[:, 0]), column)
    torch.testing.assert_close(loss(outputs[:, :1], wanted[:, 0]), column)
    with pytest.raises(WrongUsage, match="6 x 3, the targets 6 x 2"):
        loss(outputs, wanted[:, :2])
    with pytest.raises(WrongUsage, match="are for classes"):
        loss(outputs, wanted, label_smoothing=0.1)


def test_weighted_micro_batches_give_the_gradient_of_the_whole_batch() -> None:
    """Where weights are divided by those of each batch, as torch does, they do not."""
    targets = torch.tensor([0] * 9 + [1] * 2 + [2])
    balance = choose_balance(targets.tolist(), "abc", "weights")
    weights = torch.tensor(balance.weights)
    assert float(weights[targets].mean()) == pytest.approx(1)
    task = Classification("abc", class_weights=balance.weights)
    inputs = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))

    def gradient(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], size: int) -> Loss:
        torch.manual_seed(1)
        layer = nn.Linear(4, 3)
        for at in range(0, 12, size):
            part = slice(at, at + size)
            (loss(layer(inputs[part]), targets[part]) * size / 12).backward()
        return layer.weight.grad

    def ours(outputs: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return task.loss(outputs, Batch(inputs, wanted, ("",) * len(wanted))).mean()

    torch.testing.assert_close(gradient(ours, 12), gradient(ours, 4))
    theirs = nn.CrossEntropyLoss(weight=weights)
    torch.testing.assert_close(gradient(ours, 12), gradient(theirs, 12))
    assert not torch.allclose(gradient(theirs, 12), gradient(theirs, 4), rtol=1e-2)
