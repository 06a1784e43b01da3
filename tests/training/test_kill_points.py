"""Killed after any step, under everything that carries state: the same bits in the end."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.points import CPU, KillAt, Killed, bits, make_trainer

from opsin.core.micro_batch import MicroBatch
from opsin.training.checkpoint import CheckpointStore
from opsin.training.precision import Precision
from opsin.training.saving import Saving

SETTINGS: dict[str, Any] = {
    "plain": {},
    "schedule": {"schedule": "one_cycle"},
    "accumulate": {"step": lambda: {"micro": MicroBatch(3)}},
    "penalties": {"step": lambda: {"l1": 1e-3, "l2": 1e-2, "clip_norm": 0.5}},
    "bfloat16": {"step": lambda: {"precision": Precision("bfloat16", CPU)}},
    "float16": {"step": lambda: {"precision": Precision("float16", CPU)}},
    "two stages": {"stages": 2},
}


def options(name: str) -> dict[str, Any]:
    given = dict(SETTINGS[name])
    if "step" in given:
        given["step"] = given["step"]()
    return given


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("every", [1, 4, 7])
def test_killed_anywhere(tmp_path: Path, name: str, every: int) -> None:
    whole = make_trainer(tmp_path / "a", epochs=3, **options(name))
    history = whole.fit()
    expected = [(r.epoch, r.stage, r.lr, r.values) for r in history.records]
    points = itertools.product(range(1, len(history.records) + 1), (1, 4, 6))
    for number, (epoch, step) in enumerate(points):
        folder = tmp_path / str(number)
        saving = Saving(steps=every, seconds=math.inf)
        with pytest.raises(Killed):
            make_trainer(
                folder, epochs=3, callbacks=(KillAt(epoch, step),), saving=saving, **options(name)
            ).fit()
        torch.manual_seed(number)
        saved, notes = CheckpointStore(folder).newest()
        assert notes == []
        again = make_trainer(folder, epochs=3, **options(name))
        records = again.fit(saved).records
        assert [(r.epoch, r.stage, r.lr, r.values) for r in records] == expected
        assert bits(again.model) == bits(whole.model)


def test_ten_kills_in_a_row(tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / "a", epochs=4)
    whole.fit()
    for kill in range(10):
        saved, _ = CheckpointStore(tmp_path / "b").newest()
        saving = Saving(steps=2, seconds=math.inf)
        at = KillAt(kill * 2 // 6 + 1, kill * 2 % 6 + 1)
        with pytest.raises(Killed):
            make_trainer(tmp_path / "b", epochs=4, callbacks=(at,), saving=saving).fit(saved)
    saved, _ = CheckpointStore(tmp_path / "b").newest()
    assert saved
    assert saved.state["position"]["total"] > 10
    again = make_trainer(tmp_path / "b", epochs=4)
    again.fit(saved)
    assert bits(again.model) == bits(whole.model)
