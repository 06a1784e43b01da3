"""A solved head in the loop: through the real verbs, killed and resumed, with any store."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from opsin.api.resume import resume
from opsin.api.train import train
from opsin.core.config_checks import make_config
from opsin.core.errors import Interrupted, WrongUsage
from opsin.core.progress import Silent
from opsin.training.checkpoint import CheckpointStore


@pytest.fixture
def photos(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of twenty good pictures, and a cache of their own."""
    monkeypatch.setenv("OPSIN_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("0", "1"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for path in sorted((digits / name).glob("*.png"))[5:25]:
            shutil.copy(path, tmp_path / "photos" / name)
    return tmp_path / "photos"


class Lines(Silent):
    """Keeps what is said, and asks to stop, by the real signal, when a line or phase begins so."""

    def __init__(self, stop_at: str = "nowhere", times: int = 1) -> None:
        self.said: list[str] = []
        self.phases: list[str] = []
        self._stop_at, self._left = stop_at, times

    def line(self, text: str) -> None:
        self.said.append(text)
        self._heed(text)

    def step(self, phase: str, done: int, total: int) -> None:
        self.phases.append(phase)
        self._heed(phase)

    def _heed(self, text: str) -> None:
        if text.startswith(self._stop_at):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGINT)


def run(photos: Path, name: str, progress: Silent | None = None, **settings: Any) -> Path:
    shared: dict[str, Any] = {
        "image_size": 32, "model": "lenet", "freeze": True, "epochs": 2, "batch_size": 8,
        "report": False, "bundle": False, "checkpoint_steps": 1, "name": name, "lr": 0.01,
        "layout": "contiguous", "tune": False, "threads": 1,
        "project": photos.parent / "runs", "progress": progress or Silent(),
    }  # fmt: skip
    return train(photos, **(shared | settings)).path


def stored(photos: Path) -> list[Path]:
    return sorted((photos.parent / "cache" / "features").glob("*"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    saved, _ = CheckpointStore(folder / "checkpoints").newest()
    assert saved is not None
    return {k: v for k, v in saved.tensors.items() if k.startswith("model.")}


def assert_same(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert (one / "predictions.csv").read_bytes() == (other / "predictions.csv").read_bytes()


def test_the_head_is_solved_and_the_table_is_kept(photos: Path) -> None:
    lines = Lines()
    folder = run(photos, "a", lines)
    assert "solving the head" in lines.phases
    assert any(line.startswith("head   solved on") for line in lines.said)
    rows = (folder / "history.csv").read_text().splitlines()
    assert len(rows) == 2
    saved, _ = CheckpointStore(folder / "checkpoints").newest()
    assert saved is not None
    choice = saved.state["learner"]["own"]["choice"]
    best = min(choice["tried"], key=lambda each: (each["loss"], each["c"]))
    assert best["c"] == choice["c"]
    values = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert float(values["val_loss"]) == pytest.approx(best["loss"], abs=1e-4)
    assert float(values["val_accuracy"]) == pytest.approx(best["accuracy"], abs=1e-6)
    assert len(stored(photos)) == 3  # of three splits; the test's are asked for by the evaluation


VIEWS: dict[str, Any] = {"augment": "light", "views": 2}
UPPER: dict[str, Any] = {"fine_tune": True, "unfreeze": "4"}


@pytest.mark.parametrize(
    ("settings", "stop_at", "between"),
    [
        ({}, "solving the head", "present"),
        ({"layout": "channels_last"}, "solving the head", "damaged"),
        ({"fine_tune": True, "layout": "channels_last"}, "epoch 2/3", "present"),
        ({"head": "trained"} | VIEWS, "epoch 2/3", "damaged"),
        (UPPER | {"layer_decay": 0.7}, "epoch 2/3", "present"),
        (UPPER | {"layer_decay": 0.7}, "epoch 2/3", "absent"),
        (UPPER, "epoch 2/3", "damaged"),
        (UPPER | VIEWS, "epoch 3/3", "absent"),
    ],
)
def test_killed_and_resumed_it_ends_with_the_same_bits(
    photos: Path, settings: dict[str, Any], stop_at: str, between: str
) -> None:
    """The store is left as it is, taken away, or damaged before the run goes on."""
    if "views" in settings and "head" in settings:
        settings = settings | {"epochs": 3}
    whole = run(photos, "whole", **settings)
    shutil.rmtree(photos.parent / "cache")
    with pytest.raises(Interrupted):
        run(photos, "cut", Lines(stop_at), **settings)
    files = stored(photos)
    assert files
    for path in files:
        if between == "absent":
            path.unlink()
        elif between == "damaged":
            path.write_bytes(path.read_bytes()[:-1] + b"?")
    lines = Lines()
    resume(photos.parent / "runs" / "cut", progress=lines)
    assert_same(photos.parent / "runs" / "cut", whole)
    damaged = [line for line in lines.said if "stored features are damaged" in line]
    assert len(damaged) == (between == "damaged" and "features" in lines.phases)
    if between == "present":
        asked = Lines()
        assert_same(run(photos, "again", asked, **settings), whole)
        assert "features" not in asked.phases
        assert_same(run(photos, "plain", cache=False, **settings), whole)


def test_stopped_while_features_are_computed(photos: Path) -> None:
    whole = run(photos, "whole")
    shutil.rmtree(photos.parent / "cache")
    with pytest.raises(Interrupted, match="features"):
        run(photos, "cut", Lines("features"))
    resume(photos.parent / "runs" / "cut", progress=Silent())
    assert_same(photos.parent / "runs" / "cut", whole)


def test_only_the_layers_from_there_on_learn(photos: Path) -> None:
    first = weights(run(photos, "a"))
    lines = Lines()
    folder = run(photos, "b", lines, fine_tune=True, unfreeze="backbone.4", epochs=3)
    last = weights(folder)
    for key, value in last.items():
        changed = not torch.equal(value, first[key])
        before = key.startswith(("model.backbone.0.", "model.backbone.2."))
        statistic = "running_" in key or "tracked" in key
        assert changed == (not before and not statistic), key
    # Features of three splits, by the first run, and activations of two.
    assert len(stored(photos)) == 5


def test_per_step_and_stored_agree(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations that are too large are computed in every step: other batches, nearly the same."""
    from opsin.training import answers

    settings = {"fine_tune": True, "unfreeze": "4", "head": "trained", "cache": False}
    a = weights(run(photos, "a", **settings))
    monkeypatch.setattr(answers, "MEMORY_FRAC", 0.0)
    lines = Lines()
    b = weights(run(photos, "b", lines, **settings))
    assert sum("computed in every step" in line for line in lines.said) == 2
    assert "features" not in lines.phases
    for key in a:
        np.testing.assert_allclose(a[key].numpy(), b[key].numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"label_smoothing": 0.1}, "label_smoothing 0.1"),
        ({"dropout": 0.2}, "dropout 0.2"),
        ({"loss": "focal"}, "loss focal"),
        ({"ema": 0.9}, "ema 0.9"),
        ({"l2": 0.1}, "l2 0.1"),
        ({"augment": "mixup"}, "mixed with others"),
    ],
)
def test_what_cannot_be_solved(photos: Path, settings: dict[str, Any], why: str) -> None:
    lines = Lines()
    run(photos, "a", lines, epochs=1, **settings)
    said = [line for line in lines.said if "is not solved" in line]
    assert len(said) == 1
    assert why in said[0]
    with pytest.raises(WrongUsage, match=f"cannot be solved: .*{why}") as caught:
        run(photos, "b", head="solved", **settings)
    assert caught.value.exit_code == 2


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(WrongUsage, match="--fine-tune") as caught:
        make_config({"data": "x", "freeze": True, "unfreeze": "4"})
    assert caught.value.where == "unfreeze"
    with pytest.raises(WrongUsage, match="only that of a frozen backbone"):
        make_config({"data": "x", "head": "solved"})
    make_config({"data": "x", "head": "solved", "fine_tune": True, "unfreeze": "4"})


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_rare_classes_count_more(photos: Path, balance: str) -> None:
    for path in sorted((photos / "1").iterdir())[6:]:
        path.unlink()
    plain = run(photos, "plain", balance="none")
    even = run(photos, "even", balance=balance)
    a, b = weights(plain), weights(even)
    assert not torch.equal(a["model.head.weight"], b["model.head.weight"])
    assert b["model.head.bias"] > a["model.head.bias"] or balance == "weights"


def test_the_best_of_both_stages_is_kept(photos: Path) -> None:
    """The solved head is an epoch like any other: its weights are there to go back to."""
    folder = run(photos, "a", fine_tune=True)
    best = sorted((folder / "checkpoints").glob("best-val_loss-*"))
    assert best
    assert "head.weight" in load_file(best[-1])


def test_features_judge_as_the_whole_model_does(photos: Path) -> None:
    from opsin.api.running.fit import judged
    from opsin.api.running.trial import trial_job
    from opsin.evaluation.collect import collect
    from opsin.training.interrupt import StopRequest

    settings = {"data": photos, "model": "lenet", "image_size": 32, "freeze": True}
    job = trial_job(make_config(settings), Silent())
    module, loaders = judged(job, StopRequest())
    cpu = torch.device("cpu")
    a = collect(module, job.task, loaders, job.split.classes, device=cpu)
    b = collect(job.model, job.task, job.plain, job.split.classes, device=cpu)
    assert (a.splits, a.ids) == (b.splits, b.ids)
    assert (a.true == b.true).all()
    np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-4)
