"""Fixtures of this room: pictures that a person might have, made on the spot."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.data.stored import Here

from opsin.data import scan

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def photo() -> NDArray[np.uint8]:
    """uint8 40 x 56 x 3: smooth colours with a bright corner, so that every turn shows."""
    y, x = np.mgrid[0:40, 0:56]
    picture = np.stack([x * 4, y * 6, (x + y) * 2], axis=2).astype(np.uint8)
    picture[:12, :10] = (250, 240, 20)
    return picture


@pytest.fixture(scope="session")
def encode(photo: NDArray[np.uint8]) -> Encode:
    """The photo, or another picture, as the bytes of a file."""

    def function(format_: str, picture: Image.Image | None = None, **options: Any) -> bytes:
        buffer = io.BytesIO()
        (picture or Image.fromarray(photo)).save(buffer, format_, **options)
        return buffer.getvalue()

    return function


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A folder for the pixel store, not there yet."""
    return tmp_path / "cache"


@pytest.fixture
def scan_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scan in this process, which saves starting others; real photos are scanned as ever."""
    if "shared_data" not in request.fixturenames:
        monkeypatch.setattr(scan, "IsolatedWorker", Here)
