"""The rate of every step, once."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests.training.callbacks.kills import KillOn, run_killed, run_whole
from tests.training.points import Killed, StopAt, make_trainer

from opsin.core.errors import Interrupted
from opsin.training.callback import Callback
from opsin.training.callbacks.rate_log import RateLog
from opsin.training.checkpoint import CheckpointStore
from opsin.training.events import EpochEnd
from opsin.training.interrupt import StopRequest
from opsin.training.saving import Saving
from opsin.training.schedules import make_schedule


def rows(path: Path) -> list[tuple[int, int, str, float]]:
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    return [(int(r["step"]), int(r["epoch"]), r["stage"], float(r["rate"])) for r in found]


def test_every_step_of_both_stages(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    run_whole(tmp_path / "c", lambda: [RateLog(path)], stages=2, epochs=2, schedule="cosine")
    share = make_schedule("cosine")
    wanted = [
        (12 * stage + n + 1, 1 + (12 * stage + n) // 6, name, peak * share(n / 12))
        for stage, (name, peak) in enumerate([("head", 0.02), ("fine-tune", 0.0002)])
        for n in range(12)
    ]
    found = rows(path)
    assert [row[:3] for row in found] == [row[:3] for row in wanted]
    assert [row[3] for row in found] == pytest.approx([row[3] for row in wanted], rel=1e-8)


def test_the_same_bytes_after_kills(tmp_path: Path) -> None:
    for name, runner in (("a", run_whole), ("b", run_killed)):
        path = tmp_path / f"{name}.csv"
        runner(tmp_path / name, lambda path=path: [RateLog(path)], schedule="cosine")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert len(rows(tmp_path / "a.csv")) == 36


@pytest.mark.parametrize("at", [(1, 1), (3, 2), (3, 6)])
def test_the_same_bytes_after_a_polite_stop(tmp_path: Path, at: tuple[int, int]) -> None:
    run_whole(tmp_path / "a", lambda: [RateLog(tmp_path / "a.csv")])
    stop = StopRequest()
    callbacks = [RateLog(tmp_path / "b.csv"), StopAt(stop, *at)]
    with pytest.raises(Interrupted):
        make_trainer(tmp_path / "b", callbacks=callbacks, stop=stop).fit()
    saved = CheckpointStore(tmp_path / "b").newest()[0]
    make_trainer(tmp_path / "b", callbacks=[RateLog(tmp_path / "b.csv")]).fit(saved)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_half_written_epoch_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    callbacks = [RateLog(path), KillOn(("batch", 3, 2))]
    with pytest.raises(Killed):
        make_trainer(tmp_path / "c", callbacks=callbacks, saving=Saving(steps=1)).fit()
    with path.open("ab") as file:
        file.write(b"13,3,train,0.02\n" * 999 + b"14,3,tra")
    saved = CheckpointStore(tmp_path / "c").newest()[0]
    make_trainer(tmp_path / "c", callbacks=[RateLog(path)]).fit(saved)
    assert [row[0] for row in rows(path)] == list(range(1, 37))


def test_a_file_that_was_cut_is_kept_and_told(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "rates.csv"
    callbacks = [RateLog(path), KillOn(("batch", 3, 2))]
    with pytest.raises(Killed):
        make_trainer(tmp_path / "c", callbacks=callbacks, saving=Saving(steps=1)).fit()
    cut = path.read_bytes()[: path.read_bytes().index(b"\n9,") + 3]
    path.write_bytes(cut)
    saved = CheckpointStore(tmp_path / "c").newest()[0]
    make_trainer(tmp_path / "c", callbacks=[RateLog(path, said.append)]).fit(saved)
    assert [row[0] for row in rows(path)] == [*range(1, 9), *range(13, 37)]
    assert path.with_name("rates.csv.damaged").read_bytes() == cut
    assert said == ["rates.csv was cut or taken away: rows are missing after line 9"]


def test_rows_that_cannot_be_written_come_later(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "rates.csv"
    path.mkdir()

    class Room(Callback):
        def on_epoch_end(self, end: EpochEnd) -> None:
            if end.record.epoch == 2:
                path.rmdir()

    log = RateLog(path, said.append, wait_s=0.1)
    make_trainer(tmp_path / "c", callbacks=[log, Room()]).fit()
    assert [row[0] for row in rows(path)] == list(range(1, 37))
    assert "training goes on" in said[0]
