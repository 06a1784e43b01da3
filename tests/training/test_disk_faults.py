"""FAULTS row 21: a disk that is full while a checkpoint is written."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path

import pytest
from tests.training.points import KillAt, Killed, bits, make_trainer

from opsin.core import files
from opsin.core.errors import Interrupted, NoRoom
from opsin.training.checkpoint import CheckpointStore
from opsin.training.interrupt import StopRequest
from opsin.training.saving import Saving


class FullDisk:
    """`os.fsync` finds no room for the next `times` files of checkpoints."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: float) -> None:
        self.left = times
        self.fsync = os.fsync
        monkeypatch.setattr(files.os, "fsync", self)

    def __call__(self, handle: int) -> None:
        target = str(Path(f"/proc/self/fd/{handle}").readlink())
        if self.left > 0 and "/.step-" in target:
            self.left -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        self.fsync(handle)


def test_row_21_a_full_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_trainer(tmp_path / "a", epochs=1)
    whole.fit()
    said: list[str] = []
    monkeypatch.setattr("opsin.training.saving.PAUSE_S", 0.01)
    disk = FullDisk(monkeypatch, 3)
    saving = Saving(steps=2, disk_wait=60, say=said.append)
    run = make_trainer(tmp_path / "b", epochs=1, saving=saving)
    run.fit()
    assert disk.left == 0
    assert len(said) == 3
    assert "disk full: need" in said[0]
    assert " free" in said[0]
    assert "waiting for room" in said[0]
    assert bits(run.model) == bits(whole.model)


def test_row_21_in_the_end_it_gives_up_and_names_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opsin.training.saving.PAUSE_S", 0.01)
    with pytest.raises(Killed):
        make_trainer(tmp_path / "a", callbacks=(KillAt(1, 5),)).fit()
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    saved, _ = CheckpointStore(tmp_path / "a").newest()
    FullDisk(monkeypatch, math.inf)
    saving = Saving(steps=1, disk_wait=0.05)
    with pytest.raises(NoRoom, match="the last checkpoint is step-00000004") as caught:
        make_trainer(tmp_path / "a", saving=saving).fit(saved)
    assert caught.value.exit_code == 6
    after = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert after == before


def test_row_21_ctrl_c_ends_the_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = StopRequest()
    FullDisk(monkeypatch, math.inf)

    def say(text: str) -> None:
        stop.exit_code = 130

    with pytest.raises(
        Interrupted, match="stopped while the disk was full; there is no checkpoint"
    ):
        make_trainer(tmp_path / "a", stop=stop, saving=Saving(steps=1, say=say)).fit()
