"""The estimate of a step's memory, against what the process really took."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from tests.training.points import CPU, Points, bits, make_step, network
from torch import nn

from opsin.core.batch import Batch
from opsin.core.errors import NotEnoughMemory
from opsin.training.memory import (
    HOLES,
    LARGEST,
    LIBRARIES,
    StepMemory,
    activation_bytes,
    parts_that_fit,
    step_memory,
)
from opsin.training.processes import ALONE
from opsin.training.supervised import SupervisedStep

# Two steps in a process of its own: resident memory above what stood before the first of them.
MEASURE = """
import sys, torch
from opsin.core.batch import Batch
from opsin.models.build import Origin, build, design
from opsin.tasks.classification import Classification
from opsin.training.memory import losses_of, step_memory
from opsin.training.optim import make_optimizer
from opsin.training.processes import ALONE
from opsin.training.step import Moment
from opsin.training.supervised import SupervisedStep

name, px, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(2)
model = build(design(name, Origin(), image_size=px), Origin(), 10, seed=0)
optimizer = make_optimizer("adam", model.parameters(), lr=1e-3)
task = Classification(tuple("abcdefghij"))
step = SupervisedStep(model, task, optimizer)
step.begin(torch.device("cpu"), ALONE)
step.learn_mode()

def batch_of(count):
    return Batch(torch.randn(count, 3, px, px), torch.arange(count) % 10, ("x",) * count)

def resident(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))

batch = batch_of(count)
estimate = step_memory(model, step.learning, losses_of(step), batch).of(count)
before = resident("VmRSS")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
for number in (1, 2):
    step.learn(batch, Moment(1, number, 2, 1e-3, count, 0), lambda optimizer, loss: None)
print(estimate, resident("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize(
    ("name", "px", "count"),
    [("tinyvgg", 64, 256), ("cnn3", 256, 32), ("timm:mobilenetv2_100", 96, 32)],
)
def test_the_estimate_is_near_the_peak_of_the_process(name: str, px: int, count: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, name, str(px), str(count)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "clear_refs" in done.stderr:
        pytest.skip("this system does not let a process set back its own peak")
    assert done.returncode == 0, done.stderr
    estimate, peak = map(int, done.stdout.split())
    assert 0.75 < estimate / peak < 2, f"estimate {estimate:,}, measured {peak:,}"


def test_what_is_saved_is_counted_once() -> None:
    """By hand: a linear layer saves its input, which is there; relu its output; the next layer
    the same tensor once more; the loss, a log-softmax, its output.
    """
    model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3))
    batch = Batch(torch.randn(4, 2), torch.zeros(4, dtype=torch.long), tuple("abcd"))

    def loss(part: Batch) -> torch.Tensor:
        return nn.functional.mse_loss(model(part.inputs), torch.zeros(4, 3), reduction="sum")

    relu, outputs = 4 * 16 * 4, 4 * 3 * 4
    target = outputs  # mse saves both of its arguments
    expected = HOLES * (relu + outputs + target) + LARGEST * relu
    assert activation_bytes(model, loss, batch) == expected


def test_a_line_through_two_and_four_is_right_at_any_size() -> None:
    model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.BatchNorm1d(64), nn.Linear(64, 3))
    points = Points(90, 1, shuffle=False, batch_size=90)
    batch = next(points.epoch(1))

    def loss(part: Batch) -> torch.Tensor:
        return nn.functional.cross_entropy(model(part.inputs), part.targets, reduction="none")

    found = step_memory(model, list(model.parameters()), loss, batch)
    gradients = 3 * 4 * sum(p.numel() for p in model.parameters())
    direct = LIBRARIES + gradients + activation_bytes(model, loss, batch)
    assert found.of(90) == pytest.approx(direct, abs=2)
    assert found.samples(found.of(90)) in (89, 90)


def step_and_batch(model: nn.Module, **options: Any) -> tuple[SupervisedStep, Batch]:
    step = make_step(model, model.parameters(), **options)
    step.begin(CPU, ALONE)
    step.learn_mode()
    return step, next(Points(90, 1, shuffle=True, batch_size=64).epoch(1))


def test_looking_changes_nothing() -> None:
    model = network()
    step, batch = step_and_batch(model)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    before, rng = bits(model), torch.get_rng_state()
    assert parts_that_fit(step, batch, available=33_000_000) is not None
    assert bits(model) == before, "batch-norm's statistics too"
    assert torch.equal(torch.get_rng_state(), rng), "dropout has drawn"
    assert all(bool((p.grad == 7).all()) for p in model.parameters() if p.grad is not None)
    assert all(part.training for part in model.modules())


def test_the_parts_that_fit() -> None:
    model = network()
    step, batch = step_and_batch(model)
    said: list[str] = []
    step.micro.say = said.append
    assert parts_that_fit(step, batch, available=10**9) is None
    assert parts_that_fit(step, batch, available=0) is None, "nothing is known"
    assert said == []
    found = step_memory(
        model, step.learning, lambda part: step.task.loss(model(part.inputs), part), batch
    )
    size = parts_that_fit(step, batch, available=round(found.of(20) / 0.8) + 100)
    assert size is not None
    assert 18 <= size <= 21
    assert "the batch stays 64" in said[0]
    assert "batch-norm now sees parts" in said[0]
    step.micro.accumulate = 8
    assert parts_that_fit(step, batch, available=round(found.of(20) / 0.8) + 100) is None


def test_one_sample_too_many_is_refused() -> None:
    step, batch = step_and_batch(network())
    with pytest.raises(NotEnoughMemory, match="smallest size tried: 1 of 64"):
        parts_that_fit(step, batch, available=31_000_000)


def test_what_cannot_take_two_samples_is_left_alone() -> None:
    class OnlyAll(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            outputs: torch.Tensor = self.inner(x.view(64, 2))
            return outputs

    step, batch = step_and_batch(OnlyAll())
    assert parts_that_fit(step, batch, available=33_000_000) is None


def test_a_line_of_bytes() -> None:
    assert StepMemory(100, 8).samples(50) == 0
