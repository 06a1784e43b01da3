"""Numbers that are none, put in at each place where they can begin."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.points import Points, bits, make_trainer, network
from torch import nn

from opsin.core.errors import NumbersWrong
from opsin.training.callback import Callback
from opsin.training.callbacks.nan_guard import NanGuard
from opsin.training.checkpoint import CheckpointStore
from opsin.training.events import BatchEnd, TrainStart


class Break(nn.Module):
    """Gives back what comes, times `factor` from the call number `at` on."""

    def __init__(self, factor: float, at: int) -> None:
        super().__init__()
        self.factor, self.at, self.calls = factor, at, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.calls += 1
        return x * self.factor if self.calls >= self.at else x


class Root(nn.Module):
    """Finite forward, infinite backward at 0: sqrt of x - x from the call number `at` on."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.calls = at, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.calls += 1
        return x + (x * 0).sqrt() if self.calls >= self.at else x


def diverged(folder: Path, guard: NanGuard | None = None, **options: Any) -> NumbersWrong:
    """What the guard raises; the run stands as it was before the step."""
    guard = guard or NanGuard(folder)
    run = make_trainer(folder / "c", callbacks=[guard], **options)
    with pytest.raises(NumbersWrong) as caught:
        run.fit()
    assert all(bool(v.isfinite().all()) for v in run.model.parameters())
    saved, notes = CheckpointStore(folder / "c").newest()
    assert notes == []
    if saved:
        state = run.model.state_dict()
        for name, parameter in run.model.named_parameters():
            assert torch.equal(saved.tensors[f"model.{name}"], state[name]), name
            assert bool(parameter.isfinite().all())
    assert caught.value.code == "diverged"
    assert caught.value.exit_code == 5
    return caught.value


def listed(folder: Path) -> list[dict[str, str]]:
    with (folder / "diverged.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("factor", "word"), [(float("nan"), "nan"), (float("inf"), "nan")])
def test_a_layer_that_breaks_is_named(tmp_path: Path, factor: float, word: str) -> None:
    model = nn.Sequential(network(), Break(factor, at=10), nn.Linear(3, 3))
    error = diverged(tmp_path, model=model)
    assert error.message.startswith(f"loss became {word} at epoch 2, step 3 of 6; first in layer")
    assert "first in layer 1 (Break)" in error.message
    assert re.search(r"gradient norm nan \([\d.e+-]+ one step before\)", error.message)
    train = Points(90, 1, shuffle=True)
    batch = list(train.epoch(2))[2]
    assert [row["path"] for row in listed(tmp_path)] == list(batch.ids)
    assert {row["inputs_finite"] for row in listed(tmp_path)} == {"true"}
    assert {row["outputs_finite"] for row in listed(tmp_path)} == {"false"}
    assert f"batch list saved as diverged.csv: {', '.join(batch.ids[:3])} and 13" in error.message
    assert "0.02 of this step, for example --lr 0.002" in error.fix


def test_the_picture_that_is_broken_is_named(tmp_path: Path) -> None:
    train = Points(90, 1, shuffle=True)
    train.inputs[41, 1] = float("inf")
    error = diverged(tmp_path, train=train)
    assert "first in the inputs of the batch" in error.message
    assert "diverged.csv: 1/41; " in error.message
    marks = {row["path"]: row["inputs_finite"] for row in listed(tmp_path)}
    assert [name for name, mark in marks.items() if mark == "false"] == ["1/41"]


def test_one_sample_of_a_model_without_batch_norm(tmp_path: Path) -> None:
    """A huge input overflows in the first layer; the others' outputs stay finite."""
    train = Points(90, 1, shuffle=True)
    train.inputs[7] = 3e38
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    nn.init.constant_(model[0].weight, 1.0)
    error = diverged(tmp_path, model=model, train=train)
    assert "first in layer 0 (Linear)" in error.message
    assert "diverged.csv: 1/7; " in error.message


def test_a_weight_that_is_broken_is_named(tmp_path: Path) -> None:
    class Poison(Callback):
        def on_train_start(self, start: TrainStart) -> None:
            self.model = start.model

        def on_batch_end(self, end: BatchEnd) -> None:
            if end.total == 8:
                with torch.no_grad():
                    dict(self.model.named_parameters())["4.weight"][0, 0] = float("inf")

    run = make_trainer(tmp_path / "c", callbacks=[Poison(), NanGuard(tmp_path)])
    with pytest.raises(NumbersWrong, match=r"first in parameter 4\.weight \(Linear\)"):
        run.fit()


def test_a_gradient_that_is_broken_is_named(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 8), Root(at=10), nn.Linear(8, 3))
    error = diverged(tmp_path, model=model)
    assert re.match(r"the gradient became nan \(loss [\d.]+\) at epoch 2, step 3", error.message)
    assert "first in the gradient of 1.bias (Linear)" in error.message


def test_a_loss_that_breaks_alone(tmp_path: Path) -> None:
    run = make_trainer(tmp_path / "c", callbacks=[NanGuard(tmp_path)])
    task = run.stages[0].step.task  # type: ignore[attr-defined]
    plain = task.loss
    task.loss = lambda outputs, batch: plain(outputs, batch) / 0
    with pytest.raises(NumbersWrong, match="first in the loss itself: the model's outputs are fin"):
        run.fit()


def test_a_large_gradient_that_is_finite_passes(tmp_path: Path) -> None:
    """Its squares are not: 1e25 squared is no float32."""
    model = network()

    class Look(Callback):
        def __init__(self) -> None:
            self.steps = 0

        def on_update_start(self, start: Any) -> None:
            self.steps += 1
            for parameter in start.module.parameters():
                parameter.grad = torch.full_like(parameter, 1e25)

    look = Look()
    make_trainer(
        tmp_path / "c", model=model, epochs=1, lr=0.0, callbacks=[look, NanGuard(tmp_path)]
    ).fit()
    assert look.steps == 6


def test_scaled_leaves_the_gradient_to_the_scaler(tmp_path: Path) -> None:
    """float16 leaves out steps with infinite gradients, so the guard must not stop at them; a
    loss that is none stops all the same.
    """
    model = nn.Sequential(nn.Linear(2, 8), Root(at=4), nn.Linear(8, 3))
    guard = NanGuard(tmp_path, scaled=True)
    with pytest.raises(NumbersWrong) as caught:  # nothing leaves the step out here
        make_trainer(tmp_path / "c", callbacks=[guard], model=model).fit()
    assert caught.value.message.startswith("loss became nan at epoch 1, step 4")
    assert "gradient norm" not in caught.value.message


def test_the_search_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """Buffers, draws, modes and hooks."""
    from opsin.training.callbacks.nan_search import in_forward

    model = network().train()
    model[0].eval()
    batch = next(Points(90, 1, shuffle=True).epoch(1))
    before, state = bits(model), torch.get_rng_state()
    found = in_forward(model, batch, torch.no_grad)
    assert "outputs are finite" in found.place
    assert bits(model) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in model.modules()] == [True, False, True, True, True, True]
    assert not any(part._forward_hooks for part in model.modules())


def test_it_changes_no_bit_of_a_run_that_is_sound(tmp_path: Path) -> None:
    plain = make_trainer(tmp_path / "a")
    plain.fit()
    guarded = make_trainer(tmp_path / "b", callbacks=[NanGuard(tmp_path)])
    guarded.fit()
    assert bits(plain.model) == bits(guarded.model)
    assert not (tmp_path / "diverged.csv").exists()


def test_the_fault_is_told_where_the_list_cannot_be_written(tmp_path: Path) -> None:
    model = nn.Sequential(network(), Break(float("nan"), at=2))
    guard = NanGuard(tmp_path / "no such folder")
    assert "batch list could not be saved: " in diverged(tmp_path, guard, model=model).message


def test_names_are_shown_without_their_controls(tmp_path: Path) -> None:
    train = Points(90, 1, shuffle=True)
    train.ids = [f"a\n\x1b[31m{n}.png" for n in range(90)]
    train.inputs[3] = float("nan")
    assert r"diverged.csv: a\n\x1b[31m3.png" in diverged(tmp_path, train=train).message


def test_a_head_that_learns_alone_has_its_whole_name(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 3), Break(float("inf"), 4)))
    guard = NanGuard(tmp_path)
    run = make_trainer(tmp_path / "c", model=model, callbacks=[guard])
    run.stages[0].step.module = run.stages[0].step._wrapped = model[1]  # type: ignore[attr-defined]
    with pytest.raises(NumbersWrong, match=r"first in layer 1\.1 \(Break\)"):
        run.fit()


def test_another_process_writes_a_file_of_its_own(tmp_path: Path) -> None:
    model = nn.Sequential(network(), Break(float("nan"), at=2))
    assert (
        "saved as diverged-1.csv"
        in diverged(tmp_path, NanGuard(tmp_path, rank=1), model=model).message
    )
    assert [path.name for path in tmp_path.glob("*.csv")] == ["diverged-1.csv"]
