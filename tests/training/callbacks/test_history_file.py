"""`history.csv` follows the checkpoints, and the training never stops for it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests.training.callbacks.kills import KillOn, run_killed, run_whole
from tests.training.points import Killed, make_trainer

from opsin.training.callback import Callback
from opsin.training.callbacks.history_file import HistoryFile
from opsin.training.checkpoint import CheckpointStore
from opsin.training.events import EpochEnd
from opsin.training.history import History
from opsin.training.monitor import Monitor
from opsin.training.saving import Saving


def rows(path: Path) -> list[dict[str, str]]:
    """Without the seconds, which no two runs share."""
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def killed_run(folder: Path, said: list[str], *, epoch: int = 4, steps: int = 1) -> Path:
    """A run that was killed in an epoch, and its history.csv."""
    path = folder / "history.csv"
    callbacks = [HistoryFile(path, said.append), KillOn(("batch", epoch, 3))]
    trainer = make_trainer(folder / "c", callbacks=callbacks, saving=Saving(steps=steps))
    with pytest.raises(Killed):
        trainer.fit()
    return path


def resume(folder: Path, said: list[str]) -> History:
    callbacks = [HistoryFile(folder / "history.csv", said.append, wait_s=0.2)]
    trainer = make_trainer(folder / "c", callbacks=callbacks)
    return trainer.fit(CheckpointStore(folder / "c").newest()[0])


def test_killed_and_resumed_it_is_the_same_and_nothing_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    run_whole(tmp_path / "a", lambda: [HistoryFile(tmp_path / "a.csv", said.append)])
    run_killed(tmp_path / "b", lambda: [HistoryFile(tmp_path / "b.csv", said.append)])
    assert rows(tmp_path / "a.csv") == rows(tmp_path / "b.csv")
    assert [row["epoch"] for row in rows(tmp_path / "a.csv")] == list("123456")
    assert said == []
    assert not list(tmp_path.glob("*.damaged"))


def test_epochs_after_the_checkpoint_go_silently(tmp_path: Path) -> None:
    said: list[str] = []
    path = killed_run(tmp_path, said, steps=13)
    assert len(rows(path)) == 3  # and the checkpoint is of step 13: two epochs

    before = path.read_bytes()
    callbacks = [HistoryFile(path, said.append), KillOn(("batch", 3, 2))]
    again = make_trainer(tmp_path / "c", callbacks=callbacks)
    saved = CheckpointStore(tmp_path / "c").newest()[0]
    assert saved is not None
    assert len(saved.state["history"]) == 2
    with pytest.raises(Killed):
        again.fit(saved)
    assert path.read_bytes() == before[: before.index(b"\n3,") + 1]
    assert said == []
    assert not path.with_name("history.csv.damaged").exists()


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        (lambda text: text[: text.index("\n3,") + 5], 1),  # cut in the third row
        (lambda text: text.replace("\n2,train", "\n2,trian"), 1),
        (lambda text: "", 3),
        (lambda text: "name,age\nAnn,3\n", 3),
        (lambda text: "\0\0\0" + text, 3),
        (lambda text: text.splitlines()[0] + "\n1,2\n" * 3, 3),
    ],
)
def test_a_damaged_file_is_set_aside_and_restored(
    tmp_path: Path, damage: object, lost: int
) -> None:
    said: list[str] = []
    path = killed_run(tmp_path, said)
    whole = path.read_text()
    path.write_text(damage(whole))  # type: ignore[operator]
    broken = path.read_bytes()
    history = resume(tmp_path, said)
    assert path.with_name("history.csv.damaged").read_bytes() == broken
    assert path.read_text().startswith(whole)
    assert len(rows(path)) == len(history.records) == 6
    row = "row" if lost == 1 else "rows"
    assert said == [
        f"history.csv was damaged (kept as history.csv.damaged); {lost} {row} restored from the "
        "checkpoint"
    ]


def test_a_missing_file_is_written_again(tmp_path: Path) -> None:
    said: list[str] = []
    path = killed_run(tmp_path, said)
    path.unlink()
    stale = tmp_path / ".history.csv.0a1b.tmp"  # killed while it was written
    stale.touch()
    resume(tmp_path, said)
    assert len(rows(path)) == 6
    assert said == ["history.csv was missing; 3 rows restored from the checkpoint"]
    assert not stale.exists()


def test_training_goes_on_where_it_cannot_be_written(tmp_path: Path) -> None:
    """A folder of that name stands in the way until epoch 4."""
    said: list[str] = []
    path = tmp_path / "history.csv"
    path.mkdir()

    class Room(Callback):
        def on_epoch_end(self, end: EpochEnd) -> None:
            if end.record.epoch == 3:
                path.rmdir()

    callbacks = [HistoryFile(path, said.append, wait_s=0.1), Room()]
    history = make_trainer(tmp_path / "c", callbacks=callbacks).fit()
    assert [row["epoch"] for row in rows(path)] == [str(r.epoch) for r in history.records]
    assert len(said) == 2
    assert "cannot be written" in said[0]
    assert "training goes on" in said[0]
    assert said[1] == "history.csv is written again"


def test_what_was_read_back_is_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    history = make_trainer(tmp_path / "c", callbacks=[HistoryFile(path)], epochs=2).fit()
    again = History.read(Monitor("val_loss"), path)
    for ours, theirs in zip(history.records, again.records, strict=True):
        assert theirs.values == pytest.approx(ours.values, abs=1e-6)
