"""What a resumed run may change, and what it must not."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from tests.training.points import Killed
from tests.training.runs import Lines, settings, start

from opsin.api.resume import resume
from opsin.api.train import train
from opsin.core import files
from opsin.core.errors import ModelRefused, WrongUsage
from opsin.core.progress import Silent


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_more_epochs_after_the_end(photos: Path, schedule: str) -> None:
    folder = train(photos, **settings(photos, "a", epochs=2, schedule=schedule, bundle=True)).path
    lines = Lines()
    longer = resume(folder, epochs=5, progress=lines)
    said = next(line for line in lines.said if line.startswith("2 epochs become 5"))
    if schedule == "constant":
        assert "from 0.01 to 0.01" in said
        whole = train(photos, **settings(photos, "b", epochs=5)).path
        for name in ("predictions.csv",):
            assert (folder / name).read_bytes() == (whole / name).read_bytes()
    else:
        at = 0.01 * (1 + math.cos(math.pi * 2 / 5)) / 2
        assert f"from 0 to {at:.3g}" in said
    assert len((folder / "history.csv").read_text().splitlines()) == 6
    assert (folder / "bundle-after-2-epochs" / "manifest.json").exists()
    assert (folder / "bundle" / "manifest.json").exists()
    assert longer.path == folder
    with pytest.raises(WrongUsage, match="begun with 5 epochs and can have more, came 3"):
        resume(folder, epochs=3, progress=Silent())


def test_a_run_whose_time_is_over_gets_no_more_epochs(photos: Path) -> None:
    more = {"epochs": 100_000, "max_time": 2.0, "threads": 1}
    folder = train(photos, **settings(photos, "a", **more)).path
    before = (folder / "config.yaml").read_bytes(), (folder / "history.csv").read_bytes()
    with pytest.raises(WrongUsage, match=r"its time of 2\.0 s is over") as caught:
        resume(folder, epochs=200_000, progress=Silent())
    assert "--accept-changes --max-time" in caught.value.fix
    assert ((folder / "config.yaml").read_bytes(), (folder / "history.csv").read_bytes()) == before


def test_a_longer_run_killed_before_its_checkpoint_stays_longer(photos: Path) -> None:
    folder = train(photos, **settings(photos, "a", epochs=2)).path

    def kill(text: str) -> None:
        if text == "epoch 3/4 2/5":
            raise Killed

    with pytest.raises(Killed):
        resume(folder, epochs=4, progress=Lines(kill))
    resume(folder, progress=Silent())
    whole = train(photos, **settings(photos, "b", epochs=4)).path
    assert (folder / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()


def test_the_same_seed_gives_the_same_bits_and_another_does_not(photos: Path) -> None:
    more = {"augment": "light", "dropout": 0.2, "epochs": 2}
    a, b = (train(photos, **settings(photos, name, **more)).path for name in "ab")
    c = train(photos, **settings(photos, "c", seed=1, val_frac=0.2, **more)).path
    weights = [sorted(p.name for p in run.glob("checkpoints/best-*")) for run in (a, b, c)]
    assert weights[0] == weights[1] != weights[2]  # the names hold the checksums


def test_other_settings_at_resume_are_listed_and_can_be_accepted(photos: Path) -> None:
    folder = train(photos, **settings(photos, "a", epochs=1)).path
    with pytest.raises(WrongUsage, match=r"batch_size was 4, is 8; lr was 0\.01, is 0\.1"):
        resume(folder, batch_size=8, lr=0.1, progress=Silent())
    new = resume(folder, batch_size=8, accept_changes=True, progress=Silent()).path
    assert new.name == "a-2"
    assert "\nbatch_size: 8 " in (new / "config.yaml").read_text()


def test_the_direction_of_an_own_metric_is_kept(photos: Path) -> None:
    from opsin.api.export import export
    from opsin.training.monitor import monitor_of

    def unease(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        return float(-outputs.abs().mean())

    unease.higher_is_better = False  # type: ignore[attr-defined]
    more = {"metrics": [unease], "monitor": "val_unease", "epochs": 4, "bundle": True}
    result = train(photos, **settings(photos, "a", **more))
    assert not monitor_of("val_unease", files.read_json(result.path / "env.json")).higher_is_better
    best = next(result.path.glob("checkpoints/best-val_unease-*")).name.split(".")[0]
    assert best == f"best-val_unease-{result.best_epoch:04d}"
    assert result.best_epoch > 1
    export(result.path, photos.parent / "x", best="val_unease")


def test_a_run_that_ended_is_not_trained_again_over_its_results(photos: Path) -> None:
    folder = train(photos, **settings(photos, "a", epochs=1)).path
    before = (folder / "predictions.csv").read_bytes()
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(ModelRefused, match="its checkpoints are gone"):
        resume(folder, progress=Silent())
    assert (folder / "predictions.csv").read_bytes() == before


def test_a_longer_second_stage_counts_right(photos: Path) -> None:
    more = {
        "model": "lenet",
        "fine_tune": True,
        "head": "trained",
        "epochs": 2,
        "schedule": "cosine",
    }
    folder = train(photos, **settings(photos, "a", **more)).path
    lines = Lines()
    resume(folder, epochs=3, progress=lines)
    assert any(line.startswith("epoch 5/5  ") for line in lines.said)


def test_two_processes_from_one_command_and_one_again(photos: Path) -> None:
    """The whole verb: every picture is evaluated, and the numbers are those of one process."""
    from opsin.evaluation.predictions import PredictionTable

    more = {"epochs": 3, "optimizer": "sgd", "threads": 1}
    one = train(photos, **settings(photos, "one", **more)).path
    words = ["train", photos, "--image-size", 32, "--epochs", 3, "--lr", 0.01, "--batch-size", 4,
             "--no-report", "--no-bundle", "--name", "two", "--optimizer", "sgd",
             "--processes", 2]  # fmt: skip
    process = start(*words, cwd=photos.parent)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert errors.count("epoch 1/3") == 1
    two = photos.parent / "runs" / "two"
    tables = [PredictionTable.read(run / "predictions.csv", ("0", "1")) for run in (one, two)]
    assert tables[0].ids == tables[1].ids
    difference = abs(tables[0].probabilities - tables[1].probabilities).max()
    assert difference < 1e-4
    process = start("train", "--resume", two, "--epochs", 4, "--processes", 1, cwd=photos.parent)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "3 epochs become 4" in errors
    assert len((two / "history.csv").read_text().splitlines()) == 5
