"""Two classes of pictures; one thread, because a second one would only wait for the first."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread of torch in each test here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def photos(digits: Path, tmp_path: Path) -> Path:
    """Two classes of twelve good pictures."""
    for name in ("0", "1"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for path in sorted((digits / name).glob("*.png"))[5:17]:
            shutil.copy(path, tmp_path / "photos" / name)
    return tmp_path / "photos"
