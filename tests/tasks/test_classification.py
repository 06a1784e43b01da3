"""The task of one class for each picture, and what is measured over its epochs."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from opsin.core.batch import Batch
from opsin.core.columns import Codes
from opsin.core.errors import WrongUsage
from opsin.evaluation.classification import evaluate_classification
from opsin.evaluation.predictions import PredictionTable
from opsin.tasks.classification import Classification
from opsin.tasks.losses import focal


def batches(classes: int, outputs: int, sizes: tuple[int, ...]) -> list[tuple[torch.Tensor, Batch]]:
    draw = torch.Generator().manual_seed(outputs)
    made = []
    for size in sizes:
        targets = torch.randint(0, classes, (size,), generator=draw)
        logits = torch.randn(size, outputs, generator=draw)
        made.append((logits, Batch(torch.zeros(size, 1), targets, ("x",) * size)))
    return made


def report_of(task: Classification, made: list[tuple[torch.Tensor, Batch]]) -> dict[str, float]:
    """The numbers of the report, from saved predictions, under the names of the meter."""
    p = torch.cat([task.answer(logits).double() for logits, _ in made]).numpy()
    true = torch.cat([batch.targets for _, batch in made]).numpy()
    names = tuple(str(n) for n in range(len(true)))
    report = evaluate_classification(
        PredictionTable(task.classes, Codes(["val"] * len(true)), names, true, p)
    )
    values = {m: report["val", "all", m].value for m in ("macro_f1", "log_loss")}
    for name in task.classes:
        for metric in ("precision", "recall", "f1"):
            values[f"{metric}:{name}"] = report["val", f"class:{name}", metric].value
    return values


@pytest.mark.parametrize(("classes", "outputs"), [(2, 1), (2, 2), (4, 4)])
@pytest.mark.parametrize("processes", [1, 3])
def test_the_meter_says_what_the_report_says(classes: int, outputs: int, processes: int) -> None:
    """Also shared among processes, one of which has no row at all."""
    task = Classification([f"c:{n}" for n in range(classes)])
    made = batches(classes, outputs, (7, 5))
    names = [n for n in task.metric_names() if n not in ("loss", "accuracy")]
    meters = [task.meter(names) for _ in range(processes)]
    for number, (logits, batch) in enumerate(made):
        meters[number % processes].update(logits, batch)
    rows: list[torch.Tensor] = []
    for meter in meters[1:]:
        with pytest.raises(ZeroDivisionError):
            meter.compute(lambda table: rows.append(table) or 1 / 0)
    found = meters[0].compute(lambda table: torch.cat([table, *rows]))
    assert found == report_of(task, made), "to the last bit"


def test_a_meter_of_nothing_costs_nothing() -> None:
    code = (
        "import sys, torch; from opsin.tasks.classification import Classification\n"
        "meter = Classification('abc').meter(()); meter.update(torch.zeros(1, 3), None)\n"
        "assert meter.compute(None) == {}; assert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_metric_that_does_not_exist() -> None:
    with pytest.raises(WrongUsage, match='did you mean "recall:cat"'):
        Classification(("cat", "dog")).meter(["recal:cat"])


def test_what_is_to_grow() -> None:
    task = Classification(("a loss", "b"))
    down = [name for name in task.metric_names() if not task.larger_is_better(name)]
    assert down == ["loss", "log_loss"]


@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
def test_answers_are_probabilities(loss: str) -> None:
    task = Classification("abc", loss=loss)
    answers = task.answer(torch.tensor([[-900.0, -901.0, -902.0], [3.0, 0.0, -3.0]]))
    torch.testing.assert_close(answers.sum(1), torch.ones(2))
    assert (answers[:, :-1] > answers[:, 1:]).all()


def test_bce_answers_what_it_has_learnt() -> None:
    """Where nothing but the shares of the classes can be learnt, the answer is the shares."""
    shares = torch.tensor([0.5, 0.3, 0.2])
    task = Classification("abc", loss="bce")
    answer = task.answer(torch.logit(shares)[None])
    torch.testing.assert_close(answer[0], shares)
    assert not torch.allclose(torch.logit(shares).softmax(0), shares, atol=0.05)


def test_a_loss_of_ones_own() -> None:
    ((logits, batch),) = batches(3, 3, (6,))
    plain = Classification("abc").loss(logits, batch)
    own = Classification("abc", loss=nn.CrossEntropyLoss())
    torch.testing.assert_close(own.loss(logits, batch), plain.mean().expand(6))
    each = Classification("abc", loss=partial(focal, gamma=1), class_weights=[0, 1, 2])
    wanted = focal(logits, batch.targets, gamma=1) * batch.targets
    torch.testing.assert_close(each.loss(logits, batch), wanted)
    with pytest.raises(WrongUsage, match="a value for each sample"):
        Classification("abc", loss=nn.CrossEntropyLoss(), class_weights=[1, 1, 1]).loss(
            logits, batch
        )
    with pytest.raises(WrongUsage, match="2 class weights for 3 classes"):
        Classification("abc", class_weights=[1, 1])
    with pytest.raises(WrongUsage, match="smooths its labels itself"):
        Classification("abc", loss=nn.CrossEntropyLoss(), label_smoothing=0.1)
    with pytest.raises(WrongUsage, match='did you mean "focal"'):
        Classification("abc", loss="focall")


def test_training_and_validation_have_the_same_loss() -> None:
    ((logits, batch),) = batches(3, 3, (6,))
    task = Classification("abc", label_smoothing=0.1, class_weights=[0.5, 1, 1.5])
    with torch.no_grad():
        in_validation = task.loss(logits, batch)
    torch.testing.assert_close(task.loss(logits.requires_grad_(), batch).detach(), in_validation)
    meter = task.meter(["log_loss"])
    meter.update(logits, batch)
    plain = nn.CrossEntropyLoss()(logits.detach(), batch.targets)
    assert meter.compute(lambda x: x)["log_loss"] == pytest.approx(float(plain), rel=1e-6)
    assert not np.isclose(float(in_validation.mean()), float(plain))
