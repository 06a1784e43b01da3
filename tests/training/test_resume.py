"""Resuming: from every state a run can be in, and never on other ground than it was trained on."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from opsin.api.resume import resume
from opsin.api.train import train
from opsin.core.errors import Interrupted, ModelRefused, OpsinError, WrongUsage
from opsin.core.progress import Silent


def run(photos: Path, name: str, **settings: Any) -> Path:
    shared: dict[str, Any] = {
        "image_size": 32, "epochs": 4, "lr": 0.01, "batch_size": 4, "report": False,
        "bundle": False, "checkpoint_steps": 4, "progress": Silent(), "name": name,
        "project": photos.parent / "runs",
    }  # fmt: skip
    return train(photos, **(shared | settings)).path


class StopAfter(Silent):
    """Asks to stop, by the real signal, when a line begins with some words."""

    def __init__(self, words: str) -> None:
        self.words = words

    def line(self, text: str) -> None:
        if text.startswith(self.words):
            os.kill(os.getpid(), signal.SIGINT)


def cut(photos: Path, name: str, after: str, **settings: Any) -> Path:
    with pytest.raises(Interrupted):
        run(photos, name, progress=StopAfter(after), **settings)
    return photos.parent / "runs" / name


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_damaged_newest_checkpoint_costs_some_steps(photos: Path) -> None:
    """In the first epoch of fine-tuning, whose best weights are another stage's."""
    settings = {"model": "lenet", "fine_tune": True, "head": "trained", "epochs": 2}
    whole = run(photos, "whole", **settings)
    broken = cut(photos, "broken", "epoch 3/4", **settings)
    newest = sorted(broken.glob("checkpoints/step-*"))[-1]
    assert newest.name.startswith("step-00000015")
    damage(newest)
    resume(broken, progress=Silent())
    assert (broken / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert newest.with_name(newest.name + ".damaged").exists()


def test_all_damaged_is_refused_however_often_one_asks(photos: Path) -> None:
    broken = cut(photos, "broken", "epoch 3/4")
    for path in broken.glob("checkpoints/step-*"):
        damage(path)
    history = (broken / "history.csv").read_bytes()
    for _ in range(3):
        with pytest.raises(ModelRefused, match="no checkpoint of this run is whole"):
            resume(broken, progress=Silent())
    assert (broken / "history.csv").read_bytes() == history


def test_the_split_is_never_drawn_again_under_trained_weights(photos: Path) -> None:
    folder = run(photos, "a")
    (folder / "split.json").unlink()
    with pytest.raises(WrongUsage, match="split was"):
        resume(folder, progress=Silent())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("lr: 0.01", "lr: 0.5"),
        ("seed: 0", "seed: 9"),
        ("optimizer: adam", "optimizer: sgd"),
        ("model: tinyvgg", "model: cnn3"),
        ("batch_size: 4", "batch_size: 8"),
    ],
)
def test_changed_settings_are_listed_and_refused(photos: Path, before: str, after: str) -> None:
    folder = cut(photos, "a", "epoch 2/4")
    config = folder / "config.yaml"
    assert f"\n{before} " in config.read_text()
    config.write_text(config.read_text().replace(f"\n{before} ", f"\n{after} "))
    name, old, new = before.split(": ")[0], before.split(": ")[1], after.split(": ")[1]
    with pytest.raises(WrongUsage, match=f"{name} was {old}, is {new}") as caught:
        resume(folder, progress=Silent())
    assert caught.value.exit_code == 2


def test_a_refused_command_leaves_latest_alone(photos: Path) -> None:
    good = run(photos, "good")
    for settings in ({"image_size": 8}, {"epochs": 0}, {"model": "tinyvg"}):
        with pytest.raises(OpsinError):
            run(photos, "refused", **settings)
    assert (good.parent / "latest").resolve() == good
    assert sorted(path.name for path in good.parent.iterdir()) == ["good", "latest"]


def test_runs_beside_the_classes_are_no_class(photos: Path) -> None:
    from opsin.api.check import check

    for _ in range(2):
        folder = run(photos, "inside", project=photos / "runs", bundle=True)
        split = (folder / "split.json").read_text()
        assert '"runs"' not in split
    result = check(photos, progress=Silent())
    assert list(result.classes) == ["0", "1"]
    assert "ignored_output" in [finding.code for finding in result.findings]


def test_carriage_returns_in_names(photos: Path) -> None:
    (photos / "1").rename(photos / "d\rg")
    first = sorted((photos / "0").iterdir())[0]
    first.rename(first.with_name("a\rb.png"))
    folder = run(photos, "a", report=True)
    from opsin.api.evaluate import evaluate

    assert evaluate(folder).settings["classes"] == ["0", "d\rg"]
    resume(folder, progress=Silent())


def test_a_lost_loader_worker_changes_nothing(photos: Path) -> None:
    plain = run(photos, "plain", augment="light")
    lines: list[str] = []

    class KillWorker(Silent):
        killed = False

        def line(self, text: str) -> None:
            lines.append(text)

        def step(self, phase: str, done: int, total: int) -> None:
            if phase.startswith("epoch 2") and not self.killed:
                import multiprocessing

                for child in multiprocessing.active_children():
                    os.kill(child.pid or 0, signal.SIGKILL)
                    KillWorker.killed = True

    lossy = run(photos, "lossy", augment="light", workers=1, batch_size=4, progress=KillWorker())
    assert KillWorker.killed
    assert any("going on without workers" in line for line in lines)
    assert (lossy / "predictions.csv").read_bytes() == (plain / "predictions.csv").read_bytes()


def test_files_changed_while_it_trained_are_told(photos: Path) -> None:
    class Spoil(Silent):
        def line(self, text: str) -> None:
            if text.startswith("epoch 2/"):
                sorted((photos / "0").iterdir())[0].unlink()

    folder = run(photos, "a", progress=Spoil())
    assert "changed_since_scan" in (folder / "findings.json").read_text()


def test_new_data_of_one_class_can_be_evaluated(photos: Path) -> None:
    from opsin.api.evaluate import evaluate

    folder = run(photos, "a", bundle=True)
    shutil.rmtree(photos / "1")
    assert evaluate(folder, photos)["data", "all", "accuracy"].count == 12
