"""FAULTS row 23: Ctrl-C and SIGTERM."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from tests.training.runs import Lines, settings, start, wait_for

from opsin.api.train import train
from opsin.core.errors import Interrupted
from opsin.training.checkpoint import CheckpointStore


@pytest.mark.parametrize(
    ("number", "code", "workers", "processes"),
    [
        (signal.SIGINT, 130, 0, 1),
        (signal.SIGINT, 130, 2, 1),
        (signal.SIGTERM, 143, 2, 1),
        (signal.SIGTERM, 143, 0, 2),
    ],
)
def test_row_23_the_signal_reaches_everybody_and_nothing_is_lost(
    photos: Path, number: signal.Signals, code: int, workers: int, processes: int
) -> None:
    """The whole process group gets it, loader workers too, in the middle of an epoch."""
    words = ["train", photos, "--image-size", 32, "--epochs", 500, "--batch-size", 4,
             "--workers", workers, "--name", "cut", "--checkpoint-steps", 3,
             "--processes", processes]  # fmt: skip
    process = start(*words, cwd=photos.parent)
    cut = photos.parent / "runs" / "cut"
    wait_for(lambda: list(cut.glob("checkpoints/step-00000007.*")) or
             len(list(cut.glob("checkpoints/step-*"))) > 1, process)  # fmt: skip
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "stopping after this step, saving" in errors
    assert "worker was lost" not in errors
    assert "Traceback" not in errors
    saved, notes = CheckpointStore(cut / "checkpoints").newest()
    assert saved
    assert notes == []
    assert f"saved as {saved.path.name.partition('.')[0]}" in errors
    assert f"opsin train --resume {cut}" in errors


def test_row_23_the_second_signal_ends_at_once(photos: Path) -> None:
    def stop(text: str) -> None:
        if text in ("epoch 2/4 2/5", "stopping after this step, saving; once more stops at once"):
            if text.startswith("stopping"):
                time.sleep(0.3)  # sooner it would be the same one
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(
        Interrupted, match="stopped at once; the last checkpoint is step-00000004"
    ) as c:
        train(photos, **settings(photos, "cut", checkpoint_steps=4, progress=Lines(stop)))
    assert c.value.exit_code == 143
    assert "--resume" in c.value.fix


def test_row_23_one_signal_that_comes_twice_is_one(photos: Path) -> None:
    def stop(text: str) -> None:
        if text == "epoch 2/4 2/5":
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="saved as step-00000007"):
        train(photos, **settings(photos, "cut", progress=Lines(stop)))
