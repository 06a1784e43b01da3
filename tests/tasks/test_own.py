"""Any loss, any metric."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.core.errors import WrongUsage
from opsin.tasks.losses import mse
from opsin.tasks.own import OwnTask


def batch(targets: torch.Tensor) -> Batch:
    return Batch(torch.zeros(len(targets), 1), targets, tuple(map(str, range(len(targets)))))


OUTPUTS, TARGETS = torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([[1.0], [2.0], [2.0]])


def test_a_mean_stands_for_each_sample_and_values_for_themselves() -> None:
    mean = OwnTask(nn.MSELoss()).loss(OUTPUTS, batch(TARGETS))
    torch.testing.assert_close(mean, torch.full((3,), 10 / 3))
    each = OwnTask(mse).loss(OUTPUTS, batch(TARGETS))
    torch.testing.assert_close(each, torch.tensor([1.0, 0.0, 9.0]))
    assert OwnTask(mse).loss(OUTPUTS[:, 0].half(), batch(TARGETS[:, 0])).dtype == torch.float32


def test_gradients_flow_as_from_the_mean() -> None:
    ours, theirs = (OUTPUTS.clone().requires_grad_() for _ in range(2))
    OwnTask(nn.MSELoss()).loss(ours, batch(TARGETS)).mean().backward()
    nn.MSELoss()(theirs, TARGETS).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (lambda o, t: (o.expand(3, 2) - t) ** 2, r"3 x 2 values for a batch of 3.*loss\.mean\(\)"),
        (lambda o, t: (o - t[:, 0]) ** 2, r"3 x 3 values"),
        (lambda o, t: float((o - t).mean()), "came float"),
        (nn.MSELoss(reduction="sum"), "sums over the batch"),
        (nn.MSELoss, "is a class"),
        ("mse", "is a function"),
    ],
)
def test_a_loss_that_is_none(loss: object, says: str) -> None:
    with pytest.raises(WrongUsage) as caught:
        OwnTask(loss).loss(OUTPUTS, batch(TARGETS))  # type: ignore[arg-type]
    assert re.search(says, str(caught.value))


def test_a_column_against_a_row_is_named() -> None:
    with pytest.raises(WrongUsage, match="spread over one another"):
        OwnTask(lambda o, t: (o - t).abs()).loss(OUTPUTS, batch(TARGETS[:, 0]))


def test_targets_of_any_form_become_a_tensor() -> None:
    task = OwnTask(mse)
    assert task.collate([1.5, 2.5]).tolist() == [1.5, 2.5]
    assert task.collate([torch.ones(2), torch.zeros(2)]).tolist() == [[1, 1], [0, 0]]
    assert task.collate([[1, 2], [3, 4]]).dtype == torch.int64


def largest_error(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return float((outputs - targets).abs().max())


def test_functions_see_the_whole_epoch_of_all_processes() -> None:
    task = OwnTask(mse, [largest_error])
    assert task.metric_names() == ("loss", "largest_error")
    assert not task.larger_is_better("largest_error")
    meter = task.meter()
    for part in (slice(0, 2), slice(2, 3)):
        meter.update(OUTPUTS[part], batch(TARGETS[part]))
    assert meter.compute(lambda rows: rows) == {"largest_error": 3.0}
    assert meter.compute(lambda rows: rows[:2]) == {"largest_error": 1.0}
    empty = task.meter().compute(lambda rows: torch.zeros(1, 1) if not len(rows) else 1 / 0)
    assert empty == {"largest_error": 0.0}


def test_torchmetrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    f1 = torchmetrics.F1Score("multiclass", num_classes=3, average="macro")
    error = torchmetrics.MeanAbsoluteError()
    both = torchmetrics.MetricCollection(
        {"acc": torchmetrics.Accuracy("multiclass", num_classes=3)}
    )
    task = OwnTask(nn.CrossEntropyLoss(), {"f1": f1, "more": both})
    assert task.metric_names() == ("loss", "f1", "acc")
    assert task.larger_is_better("acc")
    assert not OwnTask(mse, [error]).larger_is_better("mean_absolute_error")
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(20) % 3
    for _ in range(2):  # a new epoch begins anew
        meter = task.meter(["f1"])
        for part in (slice(0, 16), slice(16, 20)):
            meter.update(logits[part].clone().requires_grad_(), batch(targets[part]))
        found = meter.compute(lambda rows: 1 / 0)
    from sklearn.metrics import accuracy_score, f1_score

    said = logits.argmax(1)
    assert found["f1"] == pytest.approx(f1_score(targets, said, average="macro"))
    assert found["acc"] == pytest.approx(accuracy_score(targets, said))
    task.meter().compute(lambda rows: rows)  # of a process without a row: no warning


def test_metrics_that_are_none() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    for metrics, says in [
        ([largest_error, largest_error], 'two metrics are called "largest_error"'),
        ({"loss": largest_error}, 'two metrics are called "loss"'),
        ([lambda o, t: 0.0], "has no name"),
        ([partial(largest_error)], "has no name"),
        (["accuracy"], "came str"),
        ([torchmetrics.MeanSquaredError], "is a class"),
    ]:
        with pytest.raises(WrongUsage, match=says):
            OwnTask(mse, metrics)
    per_class = torchmetrics.Recall("multiclass", num_classes=3, average=None)
    meter = OwnTask(nn.CrossEntropyLoss(), [per_class]).meter()
    meter.update(torch.eye(3), batch(torch.arange(3)))
    with pytest.raises(WrongUsage, match="3 values; wanted is one number"):
        meter.compute(lambda rows: rows)
    with pytest.raises(WrongUsage, match='unknown metric "f1"'):
        OwnTask(mse, [largest_error]).meter(["f1"])
