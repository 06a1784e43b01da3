"""Settings: all errors at once, unknown names refused, precedence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from opsin.api.train import resolve
from opsin.core.config_checks import make_config
from opsin.core.config_file import read_config, write_config
from opsin.core.errors import WrongUsage


def test_all_errors_at_once_with_near_match() -> None:
    with pytest.raises(WrongUsage) as caught:
        make_config({"data": "x", "epoch": 3, "lr": -1, "augment": "heavy"})
    text = str(caught.value)
    assert 'did you mean "epochs"' in text
    assert "lr:" in text
    assert "augment:" in text
    assert "-1" in text


def test_written_config_reads_back_the_same(tmp_path: Path) -> None:
    config = make_config({"data": tmp_path / "ä b", "epochs": 3, "image_size": 64})
    write_config(tmp_path / "config.yaml", config)
    assert make_config(read_config(tmp_path / "config.yaml")) == config
    assert "# passes over the training pictures" in (tmp_path / "config.yaml").read_text()


def test_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump({"data": "d", "epochs": 3, "lr": 0.5, "seed": 4}))
    monkeypatch.setenv("OPSIN_LR", "0.25")
    monkeypatch.setenv("OPSIN_SEED", "5")
    config = resolve({"seed": 6}, file)
    assert (config.epochs, config.lr, config.seed, config.batch_size) == (3, 0.25, 6, 32)


def test_fine_tune_means_freeze_first() -> None:
    assert make_config({"data": "x", "fine_tune": True}).freeze


def test_config_file_must_be_a_mapping(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("- 1\n")
    with pytest.raises(WrongUsage, match="mapping"):
        read_config(file)
    file.write_text("a: [1\n")
    with pytest.raises(WrongUsage, match="YAML"):
        read_config(file)


def test_choices_are_those_that_are_registered() -> None:
    """The settings know the names without loading the rooms; the rooms must agree."""
    from typing import get_args

    from opsin.core.config import Optimizer, Schedule
    from opsin.training.optim import OPTIMIZERS
    from opsin.training.schedules import SCHEDULES

    assert get_args(Optimizer) == tuple(OPTIMIZERS)
    assert get_args(Schedule) == tuple(SCHEDULES)
