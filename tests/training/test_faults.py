"""FAULTS rows 19, 20, 22, 24, 28 and 29, those of a whole run, each injected."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from tests.training.points import Killed, Points
from tests.training.runs import OPSIN, Lines, settings, start, wait_for

from opsin.api.resume import resume
from opsin.api.train import train
from opsin.core import files
from opsin.core.errors import Interrupted, NoRoom, WrongUsage
from opsin.core.progress import Silent
from opsin.training.checkpoint import CheckpointStore


def test_row_19_a_kill_is_told_and_resumed_without_a_word(photos: Path) -> None:
    """The process is killed from outside, in the middle of an epoch."""
    whole = train(photos, **settings(photos, "whole")).path
    words = ["train", photos, "--image-size", 32, "--epochs", 4, "--lr", 0.01, "--batch-size", 4,
             "--no-report", "--no-bundle", "--name", "cut", "--checkpoint-steps", 3,
             "--threads", 1]  # fmt: skip
    process = start(*words, cwd=photos.parent)
    cut = photos.parent / "runs" / "cut"
    try:
        wait_for(lambda: list(cut.glob("checkpoints/step-00000003.*")), process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    lines = Lines()
    result = resume(cut, progress=lines)
    said = [line for line in lines.said if line.startswith("run cut")]
    assert len(said) == 1
    assert "checkpoint checked" in said[0]
    assert (result.path / "predictions.csv").read_bytes() == (
        whole / "predictions.csv"
    ).read_bytes()


def test_row_19_says_where_it_was_and_from_where_it_goes_on(photos: Path) -> None:
    def kill(text: str) -> None:
        if text == "epoch 2/4 4/5":
            raise Killed

    with pytest.raises(Killed):
        train(photos, **settings(photos, "cut", checkpoint_steps=4, progress=Lines(kill)))
    lines = Lines()
    resume(photos.parent / "runs" / "cut", progress=lines)
    said = next(line for line in lines.said if line.startswith("run cut"))
    assert said == (
        "run cut was interrupted at step 9; going on after step 8 "
        "(1 whole epoch, and 3 steps of epoch 2; checkpoint checked)"
    )


def test_row_20_a_damaged_newest_is_set_aside_and_the_one_before_used(photos: Path) -> None:
    def stop(text: str) -> None:
        if text == "epoch 3/4 3/5":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        train(photos, **settings(photos, "cut", checkpoint_steps=4, progress=Lines(stop)))
    cut = photos.parent / "runs" / "cut"
    newest = sorted(cut.glob("checkpoints/step-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:-5])
    lines = Lines()
    resume(cut, progress=lines)
    stem = newest.name.partition(".")[0]
    assert lines.said[0].startswith(
        f"checkpoint {stem} is damaged ({newest.name}: SHA-256 differs)"
    )
    assert lines.said[0].endswith("; using step-00000012")
    assert newest.with_name(newest.name + ".damaged").exists()


def test_row_28_two_runs_in_one_folder(photos: Path) -> None:
    found: list[str] = []

    def again(text: str) -> None:
        if text.startswith("epoch 1/4  "):
            done = subprocess.run(
                [*OPSIN, "train", "--resume", str(photos.parent / "runs" / "a")],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            found.append(done.stderr)
            assert done.returncode == 8

    train(photos, **settings(photos, "a", progress=Lines(again)))
    assert f"run a is in use by process {os.getpid()} on host" in found[0]


def test_row_29_accepted_changes_begin_a_run_that_points_to_the_old_one(photos: Path) -> None:
    old = train(photos, **settings(photos, "a", epochs=2)).path
    kept = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    next((photos / "0").iterdir()).unlink()
    with pytest.raises(WrongUsage, match="is gone") as caught:
        resume(old, progress=Silent())
    assert "--accept-changes" in caught.value.fix
    lines = Lines()
    new = resume(old, accept_changes=True, progress=lines).path
    assert new.name == "a-2"
    assert files.read_json(new / "env.json")["follows"] == str(old)
    assert any("accepted" in line and "is gone" in line for line in lines.said)
    assert {p: p.read_bytes() for p in old.rglob("*") if p.is_file() and p.name != ".lock"} == {
        path: data for path, data in kept.items() if path.name != ".lock"
    }


def test_row_22_a_place_that_takes_no_files_is_found_before_the_first_batch(photos: Path) -> None:
    place = photos.parent / "file"
    place.write_text("not a folder")
    with pytest.raises(NoRoom, match="cannot be written") as caught:
        train(photos, **settings(photos, "a", project=place))
    assert caught.value.exit_code == 6
    assert str(place) in caught.value.where
    assert place.read_text() == "not a folder"


def test_row_24_a_rate_that_is_absurd_is_stopped_and_explained(photos: Path) -> None:
    words = ["train", photos, "--image-size", 32, "--epochs", 9, "--lr", 1e5, "--optimizer", "sgd",
             "--batch-size", 4, "--name", "wild", "--checkpoint-steps", 1]  # fmt: skip
    process = start(*words, cwd=photos.parent)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 5, errors
    run = photos.parent / "runs" / "wild"
    assert "at epoch 1, step" in errors
    assert "gradient norm" in errors
    assert "diverged.csv" in errors
    assert "--lr 1e+04" in errors
    listed = (run / "diverged.csv").read_text().splitlines()
    assert listed[0] == "path,inputs_finite,outputs_finite"
    assert len(listed) == 5
    assert (photos / listed[1].split(",")[0]).is_file()
    saved, notes = CheckpointStore(run / "checkpoints").newest()
    assert notes == []
    assert saved is None or all(bool(t.isfinite().all()) for t in saved.tensors.values())


def test_all_errors_at_once_with_near_matches(photos: Path) -> None:
    words = ["train", photos, "--epochs", 0, "--lr", -1, "--optimizer", "adm", "--loss", "focall"]
    process = start(*words, cwd=photos.parent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    for part in ("epochs", "lr", 'did you mean "adam"', 'did you mean "focal"'):
        assert part in errors
    assert not (photos.parent / "runs").exists()


def test_a_monitor_that_does_not_exist_is_refused_with_the_list(photos: Path) -> None:
    for name in ("monitor", "keep_best"):
        with pytest.raises(WrongUsage, match='"val_macro_f1"') as caught:
            train(photos, **settings(photos, "a", **{name: "val_macro_f"}))
        assert caught.value.exit_code == 2
    assert not (photos.parent / "runs" / "a").exists()


def test_each_kept_best_can_be_exported(photos: Path) -> None:
    from safetensors.torch import load_file

    from opsin.api.export import export

    more = {"keep_best": "val_accuracy", "lr": 0.05, "epochs": 6, "bundle": True}
    run = train(photos, **settings(photos, "a", **more)).path
    for number, name in enumerate(("val_loss", "val_accuracy")):
        bundle = export(run, photos.parent / str(number), best=name)
        kept = load_file(next(run.glob(f"checkpoints/best-{name}-*")))
        assert all(torch.equal(value, kept[k]) for k, value in load_file(bundle.weights).items())
    with pytest.raises(WrongUsage, match="val_accuracy"):
        export(run, photos.parent / "x", best="val_acc")


def test_a_schedule_longer_than_the_run_is_refused(photos: Path) -> None:
    with pytest.raises(WrongUsage, match="a warm-up of 4 epochs leaves nothing of 4"):
        train(photos, **settings(photos, "a", warmup_epochs=4))


def test_the_points_of_these_tests_are_uneven() -> None:
    """Else the parts of a batch would prove less."""
    assert [len(rows) for rows in Points(90, 1, shuffle=True).plan(1)] == [16] * 5 + [10]
