"""When a stage stops."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from tests.training.callbacks.kills import run_killed, run_whole
from tests.training.points import bits, make_trainer

from opsin.core.errors import WrongUsage
from opsin.training.callback import Ask
from opsin.training.callbacks.early_stopping import EarlyStopping
from opsin.training.events import EpochEnd
from opsin.training.history import EpochRecord, History
from opsin.training.monitor import Monitor

LOSS = Monitor("val_loss")


def stops_after(callback: EarlyStopping, values: list[float]) -> int | None:
    """The epoch at which it first asks to stop, of a stage that follows another one."""
    history = History(LOSS, [EpochRecord(1, "head", 0.1, {"val_loss": 0.0}, 1.0)])
    for epoch, value in enumerate(values, start=2):
        record = EpochRecord(epoch, "train", 0.1, {"val_loss": value}, 1.0)
        history.records.append(record)
        if callback.on_epoch_end(EpochEnd(record, history, 99)) is Ask.STOP:
            return epoch - 1
    return None


def by_counting(
    values: list[float], patience: int, min_delta: float, baseline: float | None
) -> int | None:
    """The usual way, with a counter that is carried along."""
    best, waited, beaten = math.inf, 0, baseline is None
    for epoch, value in enumerate(values, start=1):
        beaten = beaten or (baseline is not None and baseline - value > min_delta)
        if best - value > min_delta:
            best, waited = value, 0
        else:
            waited += 1
        if waited >= patience or (epoch >= patience and not beaten):
            return epoch
    return None


def test_equals_a_counter() -> None:
    draw = random.Random(0)
    stopped = set()
    for _ in range(500):
        values = [draw.choice([0.1, 0.2, 0.3, 0.4, 0.5]) for _ in range(12)]
        patience, min_delta = draw.randint(1, 5), draw.choice([0.0, 0.15])
        baseline = draw.choice([None, 0.15, 0.35])
        callback = EarlyStopping(patience, Monitor("val_loss", min_delta), baseline=baseline)
        wanted = by_counting(values, patience, min_delta, baseline)
        assert stops_after(callback, values) == wanted
        stopped.add(wanted)
    assert len(stopped) > 5


def test_a_baseline_stops_only_a_stage_that_never_beat_it() -> None:
    falling = [0.9, 0.8, 0.7, 0.6, 0.5]
    assert stops_after(EarlyStopping(3, LOSS, baseline=0.65), falling) == 3
    assert stops_after(EarlyStopping(3, LOSS, baseline=0.75), falling) is None


def test_stops_a_training_at_the_same_epoch_after_kills(tmp_path: Path) -> None:
    def make() -> list[EarlyStopping]:
        return [EarlyStopping(3, LOSS)]

    whole = run_whole(tmp_path / "a", make, epochs=60, lr=0.3)
    records = whole.history.records
    assert 5 < len(records) < 60
    best = min(range(len(records)), key=lambda n: records[n].values["val_loss"])
    assert len(records) - 1 - best == 3
    late = len(records)
    kills = [("batch", 2, 3), ("epoch", late - 1, 0), ("batch", late, 2), ("epoch", late, 0)]
    again = run_killed(tmp_path / "b", make, kills, epochs=60, lr=0.3)
    assert [r.values for r in again.history.records] == [r.values for r in records]
    assert bits(again.model) == bits(whole.model)


def test_each_stage_begins_anew(tmp_path: Path) -> None:
    """The second stage is much gentler, so it gets better slowly; the first one's best does not
    count there.
    """
    callback = EarlyStopping(2, Monitor("val_loss", min_delta=10.0))
    trainer = make_trainer(tmp_path / "a", epochs=9, stages=2, callbacks=[callback])
    assert [record.stage for record in trainer.fit().records] == ["head"] * 3 + ["fine-tune"] * 3


def test_an_unknown_metric_is_refused_with_the_list(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "a", callbacks=[EarlyStopping(3, Monitor("val_f1"))])
    with pytest.raises(WrongUsage, match="val_accuracy, val_loss") as caught:
        trainer.fit()
    assert caught.value.code == "unknown_metric"
