"""A whole run whose pictures lie on its device: nothing is different but a line of its plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.runs import Lines

from opsin.api.running import job as job_module
from opsin.api.train import train
from opsin.data.on_device import OnDevice
from opsin.testing.digits import write_digits

SMALL: dict[str, Any] = {
    "image_size": 16,
    "epochs": 2,
    "tune": False,
    "threads": 1,
    "bundle": False,
    "report": False,
    "batch_size": 16,
}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("few") / "digits", per_class=8)


def trained(data: Path, folder: Path, **more: Any) -> tuple[Path, list[str]]:
    said = Lines()
    return train(data, project=folder, progress=said, **(SMALL | more)).path, said.said


def same(one: Path, other: Path) -> bool:
    found = [sorted((run / "checkpoints").glob("best*.safetensors")) for run in (one, other)]
    assert found[0]
    tensors = [[load_file(path) for path in paths] for paths in found]
    equal = all(
        torch.equal(value, there[name])
        for here, there in zip(*tensors, strict=True)
        for name, value in here.items()
    )
    rows = [(run / "predictions.csv").read_bytes() for run in (one, other)]
    return equal and rows[0] == rows[1]


@pytest.mark.parametrize("settings", [{}, {"workers": 2}])
def test_the_same_bits(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    plain, lines = trained(few, tmp_path, **settings)
    assert not any("moved once" in line for line in lines)
    moved: list[int] = []
    move = OnDevice._move
    monkeypatch.setattr(OnDevice, "_move", lambda self: (moved.append(self.size_bytes), move(self)))
    monkeypatch.setattr(job_module, "_free_bytes", lambda device: 10**9)
    over, lines = trained(few, tmp_path, **settings)
    assert [line.strip() for line in lines if "moved once" in line] == [
        f"train and val: pictures lie on cpu as uint8, moved once ({sum(moved) / 1e3:.1f} kB)"
    ]
    assert len(moved) == 2
    assert same(plain, over)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"augment": "light"}, ["val"]),
        ({"freeze": True}, []),
        ({"freeze": True, "fine_tune": True}, ["train", "val"]),
    ],
)
def test_what_every_epoch_asks_for(
    few: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    names: list[str],
) -> None:
    monkeypatch.setattr(job_module, "_free_bytes", lambda device: 10**9)
    _, lines = trained(few, tmp_path, **settings)
    said = [line.strip().partition(":")[0] for line in lines if "moved once" in line]
    assert said == ([" and ".join(names)] if names else [])
