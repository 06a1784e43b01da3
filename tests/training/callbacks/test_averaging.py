"""Averages of weights: the formula, the validation, and the bits of the training beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.callbacks.kills import KILLS, run_killed, run_whole
from tests.training.points import Points, StopAt, bits, make_trainer, network
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from opsin.core.errors import Interrupted
from opsin.training.callback import Ask, Callback
from opsin.training.callbacks.averaging import Averaging
from opsin.training.checkpoint import CheckpointStore
from opsin.training.events import (
    BatchEnd,
    BatchStart,
    StageStart,
    TrainStart,
    ValidationEnd,
    ValidationStart,
)
from opsin.training.interrupt import StopRequest


class Watch(Callback):
    """The weights after each step, and those that were judged."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []
        self.stages: list[int] = []
        self.judged: list[bytes] = []
        self.after: list[bytes] = []

    def on_train_start(self, start: TrainStart) -> None:
        self.model = start.model

    def on_stage_start(self, start: StageStart) -> None:
        self.stages.append(len(self.steps))

    def on_batch_end(self, end: BatchEnd) -> None:
        self.steps.append({k: v.double() for k, v in self.model.state_dict().items()})

    def on_validation_start(self, start: ValidationStart) -> None:
        self.judged.append(bits(start.model))

    def on_validation_end(self, end: ValidationEnd) -> None:
        self.after.append(bits(end.model))


def formula(steps: list[dict[str, torch.Tensor]], decay: float | None) -> dict[str, torch.Tensor]:
    """In float64."""
    average = dict(steps[0])
    for count, weights in enumerate(steps[1:], start=1):
        keep = count / (count + 1) if decay is None else decay
        average = {k: keep * average[k] + (1 - keep) * weights[k] for k in average}
    return average


@pytest.mark.parametrize("decay", [0.9, None])
def test_equals_the_formula_in_float64(tmp_path: Path, decay: float | None) -> None:
    watch, averaging = Watch(), Averaging(decay)
    make_trainer(tmp_path, epochs=3, stages=2, callbacks=[averaging, watch]).fit()
    second = watch.steps[watch.stages[1] :]
    assert (len(watch.steps), len(second)) == (36, 18)
    wanted = formula(second, decay)
    found = averaging.tensors()
    assert set(wanted) - set(found) == {"1.num_batches_tracked"}
    for name, mean in found.items():
        torch.testing.assert_close(mean.double(), wanted[name], rtol=1e-5, atol=1e-6)


def test_equals_torchs_averaged_model_to_the_bit(tmp_path: Path) -> None:
    class Beside(Callback):
        def on_train_start(self, start: TrainStart) -> None:
            self.model = start.model
            average = get_ema_multi_avg_fn(0.8)  # type: ignore[no-untyped-call]
            self.averaged = AveragedModel(start.model, multi_avg_fn=average, use_buffers=True)

        def on_batch_end(self, end: BatchEnd) -> None:
            self.averaged.update_parameters(self.model)

    beside, averaging = Beside(), Averaging(0.8)
    make_trainer(tmp_path, callbacks=[averaging, beside]).fit()
    theirs = beside.averaged.module.state_dict()
    for name, mean in averaging.tensors().items():
        assert torch.equal(mean, theirs[name]), name


def test_training_beside_it_keeps_its_bits(tmp_path: Path) -> None:
    plain, watched = Watch(), Watch()
    make_trainer(tmp_path / "a", callbacks=[plain], restore_best=False).fit()
    make_trainer(tmp_path / "b", callbacks=[Averaging(0.9), watched], restore_best=False).fit()
    assert watched.after == plain.after
    for ours, theirs in zip(watched.steps, plain.steps, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert watched.judged != plain.judged


def judge(model: nn.Module) -> float:
    val = Points(31, 2, shuffle=False)
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model.eval()(val.inputs), val.targets))


def test_the_average_is_validated_and_kept_as_best(tmp_path: Path) -> None:
    watch = Watch()
    run = make_trainer(tmp_path, callbacks=[Averaging(0.9), watch])
    best = run.fit().best
    assert best is not None
    assert bits(run.model) == watch.judged[best.epoch - 1]
    assert judge(run.model) == pytest.approx(best.values["val_loss"], rel=1e-6)


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("decay", [0.9, None])
@pytest.mark.parametrize("best", [True, False])
def test_the_same_bits_after_kills(
    tmp_path: Path, decay: float | None, stages: int, best: bool
) -> None:
    def run(name: str, runner: Any) -> Any:
        return runner(
            tmp_path / name,
            lambda: [Averaging(decay, at_end=not best)],
            stages=stages,
            restore_best=best,
        )

    whole, again = run("a", run_whole), run("b", run_killed)
    values = [record.values for record in whole.history.records]
    assert [record.values for record in again.history.records] == values
    assert bits(again.model) == bits(whole.model)
    if not best:
        assert judge(whole.model) == pytest.approx(values[-1]["val_loss"], rel=1e-6)


def test_the_kills_reach_what_they_should(tmp_path: Path) -> None:
    """Without its memory the resumed average is another one; so the test above can fail."""

    class Forgetful(Averaging):
        def load(self, state: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
            pass

    whole = run_whole(tmp_path / "a", lambda: [Averaging(0.9)])
    again = run_killed(tmp_path / "b", lambda: [Forgetful(0.9)], KILLS[1:2])
    assert bits(again.model) != bits(whole.model)


@pytest.mark.parametrize("at", [(1, 1), (3, 6)])
def test_the_same_bits_after_a_polite_stop(tmp_path: Path, at: tuple[int, int]) -> None:
    whole = run_whole(tmp_path / "a", lambda: [Averaging(0.9)])
    stop = StopRequest()
    callbacks = [Averaging(0.9), StopAt(stop, *at)]
    with pytest.raises(Interrupted):
        make_trainer(tmp_path / "b", callbacks=callbacks, stop=stop).fit()
    again = make_trainer(tmp_path / "b", callbacks=[Averaging(0.9)])
    again.fit(CheckpointStore(tmp_path / "b").newest()[0])
    assert bits(again.model) == bits(whole.model)


def test_a_finished_run_without_the_best_is_finished_again(tmp_path: Path) -> None:
    """Killed between the last checkpoint and the end: the average comes from the checkpoint."""
    make_trainer(tmp_path, callbacks=[Averaging(0.9, at_end=True)], restore_best=False).fit()
    again = make_trainer(tmp_path, callbacks=[Averaging(0.9, at_end=True)], restore_best=False)
    again.fit(CheckpointStore(tmp_path).newest()[0])
    last = again.history.records[-1]
    assert judge(again.model) == pytest.approx(last.values["val_loss"], rel=1e-6)


def test_batches_that_were_left_out_count_for_nothing(tmp_path: Path) -> None:
    class SkipTwo(Callback):
        def on_batch_start(self, start: BatchStart) -> Ask | None:
            return Ask.SKIP if start.step in (1, 4) else None

    watch, averaging = Watch(), Averaging(0.5)
    make_trainer(tmp_path, epochs=1, callbacks=[averaging, SkipTwo(), watch]).fit()
    assert averaging.state() == {"count": 4}
    wanted = formula([watch.steps[n] for n in (1, 2, 4, 5)], 0.5)
    for name, mean in averaging.tensors().items():
        torch.testing.assert_close(mean.double(), wanted[name], rtol=1e-5, atol=1e-6)


def test_only_what_the_stage_calls_is_averaged() -> None:
    model = network()
    averaging = Averaging(0.9)
    averaging.on_train_start(TrainStart(model, None, 1, 0))  # type: ignore[arg-type]
    averaging.on_stage_start(StageStart("head", model[4], False))
    averaging.on_batch_end(BatchEnd(1, 1, 1, 1, 1, 0.5, 0.1))
    assert set(averaging.tensors()) == {"4.weight", "4.bias"}


def test_a_validation_that_fails_leaves_the_weights(tmp_path: Path) -> None:
    run = make_trainer(tmp_path, callbacks=[Averaging(0.9)])
    plain = Watch()
    make_trainer(tmp_path / "b", epochs=1, callbacks=[plain]).fit()

    def fail(*arguments: object) -> None:
        raise ZeroDivisionError

    run.stages[0].step.evaluate = fail  # type: ignore[method-assign, assignment]
    with pytest.raises(ZeroDivisionError):
        run.fit()
    assert bits(run.model) == plain.after[0]
