"""Module, loss, metrics and DataLoaders of somebody's own, in the same loop as everything."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.api.own_parts_of_tests import KillAt, fit, loaders, network
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanAbsoluteError, MeanSquaredError
from torchmetrics.classification import BinaryF1Score

import opsin
from opsin.core.errors import DataRefused, OpsinError, WrongUsage
from opsin.core.progress import Silent
from opsin.core.run_dir import read_rows
from opsin.data.own_loader import OwnLoader
from opsin.training.callback import Callback
from opsin.training.checkpoint import CheckpointStore


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def furthest(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).abs().max()


furthest.higher_is_better = False  # type: ignore[attr-defined]


def test_it_is_the_training_that_plain_torch_would_do(tmp_path: Path) -> None:
    x = torch.linspace(-2, 2, 44)[:, None]
    pair = [DataLoader(TensorDataset(x, x**2), batch_size=8, shuffle=True) for _ in range(2)]
    model, twin = (nn.Linear(1, 1) for _ in range(2))
    twin.load_state_dict(model.state_dict())
    opsin.train(
        pair, model=model, loss=nn.HuberLoss(), epochs=3, lr=0.1, optimizer="sgd", momentum=0,
        restore_best=False, project=tmp_path, progress=Silent(),
    )  # fmt: skip
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for epoch in (1, 2, 3):
        for rows in OwnLoader(pair[0]).plan(epoch):
            optimizer.zero_grad()
            nn.functional.huber_loss(twin(x[rows]), x[rows] ** 2).backward()
            optimizer.step()
    torch.testing.assert_close(model.state_dict(), twin.state_dict())


def test_a_run_on_loaders_leaves_its_numbers_and_the_best_weights(tmp_path: Path) -> None:
    model = network()
    metrics = [MeanAbsoluteError(), furthest]
    run = fit(tmp_path, model=model, metrics=metrics, monitor="val_furthest", lr=0.1, ema=None)
    rows = read_rows(run.path / "history.csv")
    values = [float(row["val_furthest"]) for row in rows]
    assert run.best_epoch == 1 + values.index(min(values))
    for split, count in (("val", 20), ("test", 30)):
        data = loaders()[split].dataset
        inputs, targets = map(torch.stack, zip(*map(data.__getitem__, range(count)), strict=True))
        with torch.no_grad():
            errors = model(inputs) - targets  # the very object, with the best weights inside
        for name, wanted in (
            ("loss", errors.square().mean()),
            ("mean_absolute_error", errors.abs().mean()),
            ("furthest", errors.abs().max()),
        ):
            value = run.report[split, "all", name]
            assert value.value == pytest.approx(float(wanted), rel=1e-5)
            assert value.count == count
    assert json.loads((run.path / "metrics.json").read_text()) == run.report.to_dict()
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    assert config["model"] == "own:Sequential"
    assert config["loss"] == "own:MSELoss"
    assert config["batch_size"] == 8
    assert config["data"] == "DataLoaders of 50 train and 20 val and 30 test samples"
    own = json.loads((run.path / "env.json").read_text())["own"]
    assert own["metrics"] == ["mean_absolute_error", "furthest"]
    missing = {"split.json", "manifest.csv", "report.html", "bundle", "predictions.csv"}
    assert not missing & {path.name for path in run.path.iterdir()}
    assert run.bundle is None


def test_what_is_frozen_stays_as_it_is(tmp_path: Path) -> None:
    model = network()
    model[0].requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(tmp_path, model=model, weight_decay=0.1)
    after = model.state_dict()
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["3.weight"], after["3.weight"])
    assert not model[0].weight.requires_grad


def test_a_loss_may_have_a_name(tmp_path: Path) -> None:
    first = fit(tmp_path, loss="mse", name="named").report["val", "all", "loss"]
    assert fit(tmp_path, name="own").report["val", "all", "loss"].value == pytest.approx(
        first.value
    )


class Unlike(nn.Module):
    """Its state holds more than tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def get_extra_state(self) -> Any:
        return {"a": 1}

    def set_extra_state(self, state: Any) -> None:
        pass


def of_two(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square().repeat(1, 2)


def without_gradient(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs.detach() - targets).square().mean()


def number(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return (outputs - targets).square().mean().item()


class Learnt(nn.MSELoss):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


def broken(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": nn.Sequential(nn.Tanh())}, "no parameter that learns"),
        ({"model": nn.Linear}, r"Linear is a class.*Linear\(\)"),
        ({"model": nn.LazyLinear(1)}, "weight of LazyLinear has no shape yet"),
        ({"model": nn.Linear(1, 1, device="meta")}, "on the device meta"),
        ({"model": Unlike()}, "_extra_state of its state is dict"),
        ({"model": 7}, "wanted is a name or an nn.Module, came int"),
        ({"model": "tinyvgg"}, "the model is a module of your own"),
        ({"model": None}, "the model is a module of your own"),
        ({"loss": None}, "do not say what is to be learnt.*CrossEntropyLoss"),
        ({"loss": 3}, "a loss is a function"),
        ({"loss": nn.MSELoss}, "MSELoss is a class"),
        ({"loss": Learnt()}, r"Learnt has parameters of its own \(scale\)"),
        ({"loss": nn.MSELoss(reduction="sum")}, "sums over the batch"),
        ({"metrics": [4]}, "a metric is a torchmetrics.Metric or a function"),
        ({"metrics": [MeanAbsoluteError]}, "MeanAbsoluteError is a class|is a class"),
        ({"callbacks": [7]}, "wanted are opsin.training.callback.Callback, came int"),
        ({"callbacks": [Callback]}, "Callback is a class"),
        ({"monitor": "val_f1"}, "val_f1.*val_loss"),
        ({"freeze": True}, "freeze: this setting is for the models"),
        ({"dropout": 0.5}, "nn.Dropout in the module"),
        ({"batch_size": 4}, "batch_size: this setting is for folders.*DataLoader"),
        ({"augment": "light"}, "do it in the dataset"),
        ({"processes": 2}, "cannot be handed to another process"),
        ({"lr": -1}, "lr: "),
        ({"epoch": 3}, 'did you mean "epochs"'),
    ],
)
def test_refused_before_a_run_is_made(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongUsage) as caught:
        fit(tmp_path, **settings)
    assert_words(caught.value, words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": of_two}, "loss of_two: it returned 2 x 2 values for a batch of 2"),
        ({"loss": without_gradient}, "loss own:without_gradient: no gradient flows"),
        ({"loss": number}, "loss number: it must return a tensor"),
        (
            {"loss": nn.CrossEntropyLoss(), "model": nn.Linear(1, 4)},
            "the targets 8 x 1|floats|alike",
        ),
        ({"loss": nn.BCELoss()}, "loss BCELoss: .*(probabilities)"),
        ({"metrics": [broken]}, "metric broken: it raised KeyError"),
        (
            {"metrics": {"f1": BinaryF1Score()}},
            "metric f1: it raised RuntimeError: .*only the following",
        ),
        ({"metrics": {"mse": MeanSquaredError(num_outputs=3)}}, "metric mse: it gave 3 values"),
    ],
)
def test_refused_with_the_first_batch(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongUsage) as caught:
        fit(tmp_path, **settings)
    assert_words(caught.value, words)


def assert_words(error: OpsinError, words: str) -> None:
    assert re.search(words, str(error), re.DOTALL), str(error)


def test_labels_outside_the_outputs_are_named(tmp_path: Path) -> None:
    data = TensorDataset(torch.randn(6, 2), torch.tensor([0, 1, 2, 3, 1, 0]))
    pair = [DataLoader(data, batch_size=6)] * 2
    with pytest.raises(WrongUsage, match="labels outside 0 to 2: train/3 has 3"):
        opsin.train(
            pair, model=nn.Linear(2, 3), loss=nn.CrossEntropyLoss(), project=tmp_path,
            progress=Silent(),
        )  # fmt: skip


def test_a_last_batch_of_one_and_batch_norm(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    data = loaders(17)  # 8 + 8 + 1
    with pytest.raises(WrongUsage, match="batch-norm cannot learn from a single value"):
        opsin.train(data, model=model, loss="mse", project=tmp_path, progress=Silent())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([loaders()["train"]], "came list|came train"),
        ({"train": loaders()["train"], "valid": loaders()["val"]}, "came train, valid"),
        ((1, 2), r"data \(train\): wanted is a torch.utils.data.DataLoader, came int"),
        (torch.zeros(3), "data is a folder, or DataLoaders .* came Tensor"),
    ],
)
def test_other_data_is_refused(tmp_path: Path, data: Any, words: str) -> None:
    with pytest.raises(WrongUsage) as caught:
        opsin.train(data, model=network(), loss="mse", project=tmp_path, progress=Silent())
    assert_words(caught.value, words)


# --- killed and resumed ---


def newest(run: Path) -> dict[str, torch.Tensor]:
    saved, _ = CheckpointStore(run / "checkpoints").newest()
    assert saved
    return saved.tensors


def same_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on loaders that SIGKILL has ended at step 12 of 28, in the second epoch."""
    project = tmp_path_factory.mktemp("killed")
    script = Path(__file__).parent / "own_parts_of_tests.py"
    ended = subprocess.run([sys.executable, script, project, "12"], check=False, timeout=300)
    assert ended.returncode == -9
    return project / "run"


def test_killed_and_resumed_it_has_the_bits_of_the_uninterrupted_run(
    killed: Path, tmp_path: Path
) -> None:
    whole = fit(tmp_path / "whole", [KillAt(10**9)])
    for workers in (0, 2):
        run = tmp_path / f"again-{workers}"
        shutil.copytree(killed, run)
        model = network()
        result = opsin.resume(
            run, data=loaders(workers=workers), model=model, loss=nn.MSELoss(),
            callbacks=[KillAt(10**9)], progress=Silent(),
        )  # fmt: skip
        assert same_bits(newest(run), newest(whole.path))
        assert result.report.to_dict() == whole.report.to_dict()
        assert result.best_epoch == whole.best_epoch


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model": network(17)}, r"0.weight was 16 x 1, is 17 x 1; 0.bias was 16, is 17"),
        ({"model": nn.Linear(1, 1)}, "model was Sequential, is Linear"),
        ({"loss": nn.HuberLoss()}, "loss was MSELoss, is HuberLoss"),
        ({"loss": "mse"}, "loss was own:MSELoss, is mse"),
        ({"callbacks": []}, "callbacks was KillAt, is none"),
        ({"metrics": [furthest]}, "metrics was none, is furthest"),
        ({"data": loaders(51)}, "train_samples was 50, is 51"),
        ({"data": loaders(batch_size=4)}, "train_batch_size was 8, is 4"),
        (
            {"data": None, "model": None, "loss": None, "callbacks": []},
            r"opsin.resume\(.*data=\(train, val\)\)",
        ),
    ],
)  # fmt: skip
def test_on_other_ground_it_does_not_go_on(
    killed: Path, changed: dict[str, Any], words: str
) -> None:
    given: dict[str, Any] = {
        "data": loaders(), "model": network(), "loss": nn.MSELoss(), "callbacks": [KillAt(10**9)],
    }  # fmt: skip
    with pytest.raises(WrongUsage) as caught:
        opsin.resume(killed, progress=Silent(), **given | changed)
    assert_words(caught.value, words)


def test_the_command_line_says_what_to_type_in_python(
    killed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from opsin.cli.main import main

    with pytest.raises(SystemExit) as ended:
        main(["train", "--resume", str(killed)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "stand in no file: model Sequential, loss MSELoss, callbacks KillAt" in said
    call = f'opsin.resume("{killed}", model=Sequential(...), loss=MSELoss, callbacks=[KillAt], '
    assert call in " ".join(said.split())


def test_a_plain_run_refuses_parts_that_it_did_not_have(trained: Any) -> None:
    with pytest.raises(WrongUsage, match="model was none, is Sequential"):
        opsin.resume(trained.path, model=network(), progress=Silent())


def test_the_data_may_not_end_early(tmp_path: Path) -> None:
    data = TensorDataset(torch.randn(8, 1), torch.randn(8, 1))

    class Liar(torch.utils.data.BatchSampler):
        def __len__(self) -> int:
            return 1

    sampler = Liar(range(8), 2, drop_last=False)
    pair = (DataLoader(data, batch_sampler=sampler), DataLoader(data))
    with pytest.raises(DataRefused, match="says that it has 1 batches and gives more"):
        opsin.train(pair, model=network(), loss="mse", project=tmp_path, progress=Silent())


def test_a_run_on_loaders_cannot_be_made_a_bundle_of(killed: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="model Sequential, loss MSELoss, on DataLoaders"):
        opsin.export(killed, tmp_path / "bundle")
