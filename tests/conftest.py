"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opsin.api.run_result import RunResult
from opsin.api.train import train
from opsin.core.progress import Silent
from opsin.testing.digits import write_digits


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What tests keep for later runs is kept in a folder of their own."""
    os.environ["OPSIN_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; tests that need it are skipped without it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the shared data sets, and there is no {folder}")
    return folder


@pytest.fixture(scope="session")
def shared_weights(shared_data: Path) -> Path:
    """ImageNet weights of mobilenetv2_100 with their record beside them."""
    return shared_data.parent / "weights" / "mobilenetv2_100_imagenet.safetensors"


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty pictures of each digit with three planted faults; read only."""
    return write_digits(tmp_path_factory.mktemp("digits") / "digits", per_class=30)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> RunResult:
    """A run that really trained, with bundle and report; read only."""
    return train(
        digits,
        image_size=32,
        epochs=6,
        lr=3e-3,
        project=tmp_path_factory.mktemp("runs"),
        name="digits",
        progress=Silent(),
    )
