"""The rate goes down when nothing gets better, as torch's does."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from tests.training.callbacks.kills import run_killed, run_whole
from tests.training.points import bits, make_trainer

from opsin.core.errors import WrongUsage
from opsin.training.callbacks.plateau import Plateau
from opsin.training.callbacks.rate_log import RateLog
from opsin.training.monitor import Monitor


@pytest.mark.parametrize("name", ["val_loss", "val_accuracy"])
def test_equals_torch_epoch_by_epoch(name: str) -> None:
    draw = random.Random(1)
    seen = set()
    for _ in range(200):
        patience, factor = draw.randint(0, 3), draw.choice([0.1, 0.5])
        # Eighths are exact, so that both comparisons round alike.
        min_delta, min_share = draw.choice([0.0, 0.125]), draw.choice([0.001, 0.2])
        ours = Plateau(
            Monitor(name, min_delta), patience=patience, factor=factor, min_share=min_share
        )
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer,
            mode="min" if name == "val_loss" else "max",
            factor=factor,
            patience=patience,
            threshold=min_delta,
            threshold_mode="abs",
            min_lr=min_share,
            eps=0,
        )
        values: list[float] = []
        for _ in range(25):
            values.append(draw.randint(0, 16) / 8)
            theirs.step(values[-1])
            share = ours.share(values)
            assert share == optimizer.param_groups[0]["lr"]
            seen.add(share)
    assert len(seen) > 5


def test_scales_the_schedule_and_survives_kills(tmp_path: Path) -> None:
    """Nothing gains 10, so after the first epoch and three more each the rate is halved."""

    def run(name: str, runner: object) -> object:
        def make() -> list[Plateau | RateLog]:
            monitor = Monitor("val_loss", min_delta=10.0)
            rates = RateLog(tmp_path / f"{name}.csv")
            return [Plateau(monitor, patience=1, factor=0.5, min_share=0.3), rates]

        return runner(tmp_path / name, make, lr=0.4, optimizer="sgd", epochs=7)  # type: ignore[operator]

    whole, again = run("a", run_whole), run("b", run_killed)
    expected = [0.4, 0.4, 0.4, 0.2, 0.2, 0.4 * 0.3, 0.4 * 0.3]
    assert [r.lr for r in whole.history.records] == pytest.approx(expected)  # type: ignore[attr-defined]
    assert bits(again.model) == bits(whole.model)  # type: ignore[attr-defined]
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_each_stage_begins_with_its_whole_rate(tmp_path: Path) -> None:
    plateau = Plateau(Monitor("val_loss", min_delta=10.0), patience=0, factor=0.5)
    trainer = make_trainer(tmp_path / "a", epochs=3, stages=2, lr=0.4, callbacks=[plateau])
    shares = [record.lr / 0.4 for record in trainer.fit().records]
    assert shares == pytest.approx([1, 1, 0.5, 0.01, 0.01, 0.005])


def test_an_unknown_metric_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "a", callbacks=[Plateau(Monitor("val_acuracy"))])
    with pytest.raises(WrongUsage, match='did you mean "val_accuracy"'):
        trainer.fit()
