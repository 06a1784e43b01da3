"""Where a killed run stood."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.training.callbacks.kills import KillOn
from tests.training.points import Killed, make_trainer

from opsin.training.callbacks.position_file import PositionFile, read_position
from opsin.training.checkpoint import CheckpointStore
from opsin.training.saving import Saving


def test_a_killed_run_left_its_step_and_a_finished_one_nothing(tmp_path: Path) -> None:
    path = tmp_path / "position"
    callbacks = [PositionFile(path), KillOn(("batch", 3, 5))]
    with pytest.raises(Killed):
        make_trainer(tmp_path / "c", callbacks=callbacks, saving=Saving(steps=7)).fit()
    assert read_position(path) == 17
    assert path.read_bytes() == b"step           17 epoch        3\n"
    saved = CheckpointStore(tmp_path / "c").newest()[0]
    assert saved is not None
    assert saved.state["position"]["total"] == 14
    callbacks = [PositionFile(path), KillOn(("batch", 3, 3))]
    with pytest.raises(Killed):
        make_trainer(tmp_path / "c", callbacks=callbacks, saving=Saving(steps=7)).fit(saved)
    assert read_position(path) == 15
    make_trainer(tmp_path / "c", callbacks=[PositionFile(path)]).fit(saved)
    assert not path.exists()
    assert read_position(path) is None


@pytest.mark.parametrize("content", [b"", b"\0" * 33, b"step 12", b"steps 12 epoch 3\n"])
def test_anything_else_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "position").write_bytes(content)
    assert read_position(tmp_path / "position") is None


def test_a_place_that_cannot_be_written_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "no such folder" / "position"
    make_trainer(tmp_path / "c", epochs=1, callbacks=[PositionFile(path)]).fit()
    (tmp_path / "folder").mkdir()
    folder = PositionFile(tmp_path / "folder")
    make_trainer(tmp_path / "d", epochs=1, callbacks=[folder]).fit()
    assert read_position(path) is None
