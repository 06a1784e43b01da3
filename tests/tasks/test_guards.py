"""The guard speaks where something is wrong, and only there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from opsin.core.batch import Batch
from opsin.core.errors import WrongUsage
from opsin.tasks.classification import Classification
from opsin.tasks.guards import check_first_batch
from opsin.tasks.losses import LOSSES, mse
from opsin.tasks.own import OwnTask

COUNT = 8


class Calls(nn.Module):
    """A model whose last step is a function, which no list of layers shows."""

    def __init__(self, outputs: int, last: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, outputs)
        self.last = last

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.last(self.layer(inputs))


class Gated(nn.Module):
    """A sigmoid is registered last, and the model does not end with it."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(4, outputs)
        self.gate = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layer(inputs * self.gate(inputs))


def look(task: Any, model: nn.Module, targets: torch.Tensor, *, gradients: bool = True) -> None:
    torch.manual_seed(0)
    inputs = 3 * torch.randn(len(targets), 4)
    with torch.set_grad_enabled(gradients):
        outputs = model(inputs)
    ids = tuple(f"{n}.png" for n in range(len(targets)))
    state = torch.get_rng_state()
    check_first_batch(task, model, outputs, Batch(inputs, targets, ids))
    assert torch.equal(state, torch.get_rng_state())


def classes(count: int) -> torch.Tensor:
    return torch.arange(COUNT) % count


FLOATS = classes(2).float()[:, None]
SOFTMAX = [
    nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)),
    nn.Sequential(nn.Linear(4, 3), nn.Softmax(1), nn.Identity()),
    Calls(3, lambda z: z.softmax(1)),
    Calls(3, lambda z: z.exp() / z.exp().sum(1, keepdim=True)),
]


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("model", SOFTMAX)
@pytest.mark.parametrize("name", LOSSES)
def test_softmax_inside(name: str, model: nn.Module, gradients: bool) -> None:
    with pytest.raises(WrongUsage, match="ends with a softmax"):
        look(Classification("abc", loss=name), model, classes(3), gradients=gradients)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "bce"])
def test_sigmoid_inside(loss: str, gradients: bool) -> None:
    layers = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())
    with pytest.raises(WrongUsage, match="ends with a sigmoid"):
        look(Classification("ab", loss=loss), layers, classes(2), gradients=gradients)
    with pytest.raises(WrongUsage, match="ends with a sigmoid"):
        look(Classification("abc", loss=loss), Calls(3, torch.sigmoid), classes(3))


@pytest.mark.parametrize(
    ("loss", "model", "targets", "says"),
    [
        (nn.CrossEntropyLoss(), SOFTMAX[0], classes(3), "ends with a softmax"),
        (functional.cross_entropy, SOFTMAX[2], classes(3), "ends with a softmax"),
        (nn.BCEWithLogitsLoss(), Calls(1, torch.sigmoid), FLOATS, "ends with a sigmoid"),
        (nn.BCELoss(), nn.Linear(4, 1), FLOATS, "it reads probabilities, and the outputs go from"),
        (nn.NLLLoss(), nn.Linear(4, 3), classes(3), "outputs are logits"),
        (nn.NLLLoss(), SOFTMAX[0], classes(3), "outputs are probabilities"),
        (nn.CrossEntropyLoss(), nn.Linear(4, 1), classes(2), "a column for each class"),
        (nn.CrossEntropyLoss(), nn.Linear(4, 3), classes(3)[:, None], "one class index a sample"),
        (nn.CrossEntropyLoss(), nn.Linear(4, 3), classes(4), r"0 to 2: 3.png has 3, 7.png has 3"),
        (nn.MSELoss(), nn.Linear(4, 1), FLOATS[:, 0], "they must be alike"),
        (nn.BCEWithLogitsLoss(), nn.Linear(4, 1), FLOATS.long(), "targets of floats"),
        (nn.BCEWithLogitsLoss(), nn.Linear(4, 1), FLOATS + 1, "came 1 to 2"),
        (mse, nn.Linear(4, 1), classes(5), "outside 0 to 1"),
    ],
)
def test_own_losses(loss: Any, model: nn.Module, targets: torch.Tensor, says: str) -> None:
    for task in (loss, OwnTask(loss)):
        with pytest.raises(WrongUsage, match=says):
            look(task, model, targets)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize(
    ("task", "model", "targets"),
    [
        *((Classification("abc", loss=n), nn.Linear(4, 3), classes(3)) for n in LOSSES),
        *((Classification("ab", loss=n), nn.Linear(4, 1), classes(2)) for n in LOSSES),
        *((Classification("ab", loss=n), nn.Linear(4, 2), classes(2)) for n in LOSSES),
        (Classification("abc"), Gated(3), classes(3)),
        (Classification("abc"), Calls(3, lambda z: z * 0), classes(3)),
        (Classification("abc"), Calls(3, lambda z: z * float("nan")), classes(3)),
        (Classification("abc"), Calls(3, lambda z: z.log_softmax(1)), classes(3)),
        (Classification("ab"), Calls(1, lambda z: z.abs() / 100), classes(2)),
        (nn.CrossEntropyLoss(), nn.Linear(4, 3), classes(3)),
        (nn.CrossEntropyLoss(), nn.Linear(4, 3), torch.full((COUNT,), -100)),
        (nn.CrossEntropyLoss(), nn.Linear(4, 3), torch.rand(COUNT, 3)),
        (nn.NLLLoss(), Calls(3, lambda z: z.log_softmax(1)), classes(3)),
        (nn.BCELoss(), Calls(1, torch.sigmoid), FLOATS),
        (nn.BCEWithLogitsLoss(), nn.Linear(4, 1), FLOATS),
        (nn.MSELoss(), Calls(1, torch.sigmoid), FLOATS),
        (nn.MSELoss(), nn.Linear(4, 1), 100 * FLOATS),
        (mse, nn.Linear(4, 1), 100 * FLOATS[:, 0]),
        (lambda o, t: o.sum(), Calls(3, lambda z: z.softmax(1)), classes(9)),
    ],
)
def test_says_nothing_without_reason(
    task: Any, model: nn.Module, targets: torch.Tensor, gradients: bool
) -> None:
    look(task, model, targets, gradients=gradients)


def test_one_sample_proves_nothing() -> None:
    """A row of logits may be in [0, 1] and sum to 1; two hardly."""
    model = nn.Linear(4, 3)
    for count, wrong in ((1, False), (2, True)):
        batch = Batch(torch.zeros(count, 4), torch.zeros(count).long(), ("a", "b")[:count])
        outputs = torch.tensor([[0.2, 0.3, 0.5]] * count)
        if wrong:
            with pytest.raises(WrongUsage):
                check_first_batch(Classification("abc"), model, outputs, batch)
        else:
            check_first_batch(Classification("abc"), model, outputs, batch)


@pytest.mark.parametrize(
    ("model", "names", "says"),
    [
        (nn.Linear(4, 5), "abc", r"outputs are 8 x 5; wanted are logits 8 x 3 for 3 classes"),
        (nn.Linear(4, 3), "ab", r"wanted are logits 8 x 1 or 8 x 2"),
        (Calls(1, lambda z: z[:, 0]), "ab", "outputs are 8;"),
        (Calls(3, lambda z: (z, z)), "abc", "returned tuple"),
    ],
)
def test_outputs_of_another_number(model: nn.Module, names: str, says: str) -> None:
    with pytest.raises(WrongUsage, match=says):
        look(Classification(names), model, torch.zeros(COUNT).long())


def test_labels_outside_are_named() -> None:
    targets = torch.tensor([0, 3, 1, -1, 9, 9, 9, 9])
    with pytest.raises(WrongUsage) as caught:
        look(Classification("abc"), nn.Linear(4, 3), targets)
    message = str(caught.value)
    assert "outside 0 to 2: 1.png has 3, 3.png has -1, 4.png has 9" in message
    assert "and 1 more" in message
    with pytest.raises(WrongUsage, match=r"whole numbers, came torch\.float32"):
        look(Classification("abc"), nn.Linear(4, 3), targets.float())
