"""A module, loss, metrics and callbacks of somebody's own on a folder of pictures."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

import opsin
from opsin.bundle.load import load_bundle
from opsin.bundle.predictor import Predictor
from opsin.core.errors import Interrupted, WrongUsage
from opsin.core.progress import Silent
from opsin.core.run_dir import read_rows
from opsin.data.transform import Normalise
from opsin.training.callback import Ask, Callback
from opsin.training.checkpoint import CheckpointStore
from opsin.training.events import EpochEnd


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def photos(digits: Path, tmp_path: Path) -> Path:
    """Three classes of twelve good pictures."""
    for name in ("0", "1", "2"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for path in sorted((digits / name).glob("*.png"))[5:17]:
            shutil.copy(path, tmp_path / "photos" / name)
    return tmp_path / "photos"


class Net(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.look = nn.Sequential(nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
        self.decide = nn.Linear(96, classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.decide(self.look(pictures).flatten(1))
        return out


class Restless(Net):
    """Other numbers each time, which no graph gives."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        logits = super().forward(pictures)
        return logits + torch.randn_like(logits)


class Asking(Net):
    """Looks at its numbers to decide what to do, which no graph can."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        if float(pictures.detach().sum()) > 0:
            pictures = pictures + 1
        return super().forward(pictures)


def own_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs, targets)


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def run(photos: Path, **settings: Any) -> Any:
    shared: dict[str, Any] = {
        "epochs": 3, "lr": 0.01, "batch_size": 8, "image_size": 32, "name": "run",
        "report": False, "bundle": False, "project": photos.parent, "progress": Silent(),
    }  # fmt: skip
    return opsin.train(photos, **shared | settings)


def test_a_folder_with_a_module_goes_the_whole_way(photos: Path) -> None:
    model = Net()
    metrics = {"mine": MulticlassAccuracy(3, average="micro")}
    result = run(photos, model=model, loss=own_loss, metrics=metrics, bundle=True, report=True)
    bundle = load_bundle(result.bundle)
    assert bundle.manifest.model.name == "own:Net"
    assert result.report_html.is_file()
    # Its accuracy is ours, in every epoch and at the end.
    for row in read_rows(result.path / "history.csv"):
        assert row["val_mine"] == row["val_accuracy"]
    for split in ("val", "test"):
        mine, ours = (result.report[split, "all", name] for name in ("mine", "accuracy"))
        assert (mine.value, mine.count) == (pytest.approx(ours.value), ours.count)
    # The graph, the module that was given, and the weights beside the graph are one.
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    inputs = torch.from_numpy(picture.transpose(2, 0, 1).copy())[None]
    with torch.no_grad():
        wanted = model.eval()(Normalise(bundle.spec)(inputs)).softmax(1)[0]
    given = Predictor(bundle).probabilities(inputs.numpy())[0]
    np.testing.assert_allclose(given, wanted.numpy(), atol=1e-5)
    from safetensors.torch import load_file

    Net().load_state_dict(load_file(bundle.weights))


def test_the_size_of_the_input_is_64_if_none_is_given(photos: Path) -> None:
    seen: set[tuple[int, ...]] = set()

    class Looking(Net):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            seen.add(tuple(pictures.shape[1:]))
            return super().forward(pictures)

    run(photos, model=Looking(), epochs=1, image_size=None)
    assert seen == {(3, 64, 64)}


@pytest.mark.parametrize("kind", [Restless, Asking])
def test_what_cannot_be_exported_keeps_its_run(photos: Path, kind: type[Net]) -> None:
    heard = Heard()
    result = run(photos, model=kind(), bundle=True, progress=heard, epochs=1)
    assert result.bundle is None
    assert not (result.path / "bundle").exists()
    (line,) = (line for line in heard.lines if line.startswith("no bundle: "))
    assert f"{kind.__name__} cannot be exported as an ONNX graph" in line
    assert "\n" not in line
    assert (result.path / "metrics.json").is_file()


def test_outputs_must_fit_the_classes(photos: Path) -> None:
    with pytest.raises(WrongUsage, match=r"outputs are 8 x 4; wanted are logits 8 x 3"):
        run(photos, model=Net(4))


class Count(Callback):
    def __init__(self) -> None:
        self.epochs: list[int] = []

    def on_epoch_end(self, end: EpochEnd) -> Ask | None:
        self.epochs.append(end.record.epoch)
        return Ask.STOP if end.record.epoch == 2 else None


def test_callbacks_hang_on_a_model_that_has_a_name(photos: Path) -> None:
    count = Count()
    result = run(photos, model="lenet", callbacks=[count])
    assert count.epochs == [1, 2]
    own = json.loads((result.path / "env.json").read_text())["own"]
    assert own["callbacks"] == ["Count"]
    assert own["model"] is None


def test_what_is_frozen_in_it_stays(photos: Path) -> None:
    model = Net()
    model.look.requires_grad_(False)
    before = model.look[0].weight.clone()
    run(photos, model=model, epochs=1)
    assert torch.equal(model.look[0].weight, before)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pretrained": True}, "load them into the module before"),
        ({"fine_tune": True}, "fine_tune: this setting is for the models"),
        ({"label_smoothing": 0.1, "loss": own_loss}, "let the loss do it"),
        ({"model": "own:Net"}, "own:Net is of somebody's own and stands in no file"),
        ({"metrics": {"accuracy": own_loss}}, 'two metrics are called "accuracy"'),
    ],
)
def test_refused_before_a_run_is_made(photos: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongUsage) as caught:
        run(photos, **{"model": Net()} | settings)
    assert words in str(caught.value)
    assert [path.name for path in photos.parent.iterdir()] == ["photos"]


class StopIn(Callback):
    """Asks to stop, as Ctrl-C does, in the second epoch."""

    def on_batch_end(self, end: Any) -> None:
        if end.epoch == 2 and not os.environ.get("GO_ON_TO_THE_END"):
            os.kill(os.getpid(), signal.SIGINT)


def test_interrupted_it_goes_on_from_python_only(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"loss": own_loss, "callbacks": [StopIn()]}
    with pytest.raises(Interrupted) as stopped:
        run(photos, model=Net(), name="broken", **given)
    path = photos.parent / "broken"
    assert stopped.value.fix == (
        f'opsin.resume("{path}", model=Net(...), loss=own_loss, callbacks=[StopIn])'
    )
    with pytest.raises(WrongUsage, match="parts that stand in no file: model Net, loss own_loss"):
        opsin.resume(path, progress=Silent())
    with pytest.raises(WrongUsage, match=r"decide.weight was 3 x 96, is 5 x 96"):
        opsin.resume(path, model=Net(5), progress=Silent(), **given)
    monkeypatch.setenv("GO_ON_TO_THE_END", "1")
    whole = run(photos, model=Net(), name="whole", **given)
    model = Net()
    opsin.resume(path, model=model, progress=Silent(), **given)
    first, second = (
        CheckpointStore(each / "checkpoints").newest()[0] for each in (path, whole.path)
    )
    assert first
    assert second
    assert all(torch.equal(value, second.tensors[name]) for name, value in first.tensors.items())
