"""FAULTS rows 19 to 30, those of the loop and its checkpoints, each injected."""

from __future__ import annotations

import errno
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.points import KillAt, Killed, Points, bits, make_trainer
from torch import nn

from opsin.api.resume import resume
from opsin.api.train import train
from opsin.core import files
from opsin.core.errors import Interrupted, ModelRefused, NoRoom, NotEnoughMemory, WrongUsage
from opsin.core.micro_batch import MicroBatch
from opsin.core.progress import Silent
from opsin.training.checkpoint import CheckpointStore
from opsin.training.interrupt import StopRequest
from opsin.training.saving import Saving


@pytest.fixture
def photos(digits: Path, tmp_path: Path) -> Path:
    """Two classes of twelve good pictures."""
    for name in ("0", "1"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for path in sorted((digits / name).glob("*.png"))[5:17]:
            shutil.copy(path, tmp_path / "photos" / name)
    return tmp_path / "photos"


class Lines(Silent):
    """Keeps what is said; `react` is called with each line and step."""

    def __init__(self, react: Callable[[str], None] = lambda text: None) -> None:
        self.said: list[str] = []
        self.react = react

    def line(self, text: str) -> None:
        self.said.append(text)
        self.react(text)

    def step(self, phase: str, done: int, total: int) -> None:
        self.react(f"{phase} {done}/{total}")


def settings(photos: Path, name: str, **more: Any) -> dict[str, Any]:
    shared: dict[str, Any] = {
        "image_size": 32, "epochs": 4, "lr": 0.01, "batch_size": 4, "report": False,
        "bundle": False, "progress": Silent(), "name": name, "project": photos.parent / "runs",
    }  # fmt: skip
    return shared | more


OPSIN = [sys.executable, "-m", "opsin"]


def start(*words: object, cwd: Path) -> subprocess.Popen[str]:
    """`opsin ...` in a process group of its own."""
    return subprocess.Popen(
        [*OPSIN, *map(str, words)], cwd=cwd, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 90
    while not found():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.01)


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


class Greedy(nn.Module):
    """Finds no memory for more than `limit` rows; counts what went through."""

    def __init__(self, inner: nn.Module, limit: int) -> None:
        super().__init__()
        self.inner = inner
        self.limit = limit
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.inner(x)
        if len(x) > self.limit:
            torch.rand(3)  # what was drawn before it failed must not show
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 GB")
        self.seen.append(len(x))
        return hidden


def plain(*, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    middle: list[nn.Module] = [nn.BatchNorm1d(16)] if norm else []
    return nn.Sequential(nn.Linear(2, 16), *middle, nn.ReLU(), nn.Linear(16, 3))


def test_row_25_the_step_is_repeated_in_parts_and_stays_the_same(tmp_path: Path) -> None:
    said: list[str] = []
    whole = make_trainer(tmp_path / "a", epochs=2, model=plain())
    whole.fit()
    greedy = Greedy(plain(), 5)
    step = {"micro": MicroBatch(say=said.append)}
    small = make_trainer(tmp_path / "b", epochs=2, model=greedy, step=step)
    small.fit()
    assert said[0] == (
        "out of memory: 16 samples at once are too many, going on with 8; the batch stays 16: "
        "the step is the same"
    )
    assert "8 samples at once are too many, going on with 4" in said[1]
    assert max(greedy.seen) <= 5
    for a, b in zip(whole.model.parameters(), greedy.inner.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_row_25_what_fitted_is_kept_in_the_checkpoint(tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / "a", epochs=2, model=Greedy(plain(), 5))
    whole.fit()
    with pytest.raises(Killed):
        make_trainer(
            tmp_path / "b", epochs=2, model=Greedy(plain(), 5), callbacks=(KillAt(2, 3),)
        ).fit()
    saved, _ = CheckpointStore(tmp_path / "b").newest()
    roomy = make_trainer(tmp_path / "b", epochs=2, model=Greedy(plain(), 99))
    roomy.fit(saved)
    assert isinstance(roomy.model, Greedy)
    assert max(n for n in roomy.model.seen[:3]) == 4
    assert bits(roomy.model) == bits(whole.model)


def test_row_25_batch_norm_is_said_and_not_counted_twice(tmp_path: Path) -> None:
    said: list[str] = []
    greedy = Greedy(plain(norm=True), 5)
    run = make_trainer(
        tmp_path / "a", epochs=1, model=greedy, step={"micro": MicroBatch(say=said.append)}
    )
    run.fit()
    assert "batch-norm now sees parts of it, which makes that another step" in said[0]
    cut = make_trainer(
        tmp_path / "b", epochs=1, model=Greedy(plain(norm=True), 99),
        step={"micro": _of_size(4)},
    )  # fmt: skip
    cut.fit()
    assert bits(run.model) == bits(cut.model)


def _of_size(size: int) -> MicroBatch:
    micro = MicroBatch()
    micro.size = size
    return micro


def test_row_25_one_sample_that_does_not_fit_ends_it(tmp_path: Path) -> None:
    run = make_trainer(tmp_path / "a", model=Greedy(plain(), 0))
    with pytest.raises(NotEnoughMemory, match="one sample at a time does not fit") as caught:
        run.fit()
    assert caught.value.exit_code == 7


def test_row_26_only_the_evaluation_is_cut(tmp_path: Path) -> None:
    class Asking(Greedy):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.limit = 99 if self.training else 5
            return super().forward(x)

    whole = make_trainer(tmp_path / "a", epochs=1, model=plain())
    model = Asking(plain(), 5)
    run = make_trainer(tmp_path / "b", epochs=1, model=model)
    expected, values = (each.fit().records[0].values for each in (whole, run))
    assert values == pytest.approx(expected, rel=1e-6)
    looked, learnt = model.seen[:1], model.seen[1:7]
    assert looked == [2]  # the estimate of the memory
    assert learnt == [16] * 5 + [10]
    assert max(model.seen[7:]) <= 5


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


def test_all_errors_at_once_with_near_matches(photos: Path) -> None:
    words = ["train", photos, "--epochs", 0, "--lr", -1, "--optimizer", "adm", "--loss", "focall"]
    process = start(*words, cwd=photos.parent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    for part in ("epochs", "lr", 'did you mean "adam"', 'did you mean "focal"'):
        assert part in errors
    assert not (photos.parent / "runs").exists()


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
