"""Folders of small pictures, and what a run makes of them with and without a store."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from opsin.core.preprocess import PreprocessSpec
from opsin.data.index import Index, Rows
from opsin.data.intake import Intake, pixel_store, take_in
from opsin.data.pixels import PixelStore
from opsin.data.scan import TARGET
from opsin.data.scan_worker import factory


class Here:
    """An `IsolatedWorker` of the scan that saves the half second of starting a process."""

    def __init__(self, target: str, config: dict[str, Any]) -> None:
        assert target == TARGET
        self._look_at = factory(config)

    def start(self) -> None:
        """Nothing."""

    def call(self, header: dict[str, Any], *, timeout_s: float) -> Any:
        return self._look_at(header, b"")

    def close(self) -> None:
        """Nothing."""


SPEC = PreprocessSpec(size_px=(24, 32), resize="crop")
SLOT = 24 * 32 * 3
OLD_NS = 1_600_000_000_000_000_000


def write_pictures(folder: Path, count: int, *, seed: int = 0, side: int = 40) -> Path:
    """`count` different PNGs, with a time of long ago."""
    draws = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        write_picture(folder / f"{number:04}.png", draws, side)
    return folder


def write_picture(path: Path, draws: np.random.Generator, side: int = 40) -> None:
    pixels = draws.integers(0, 256, (side, side + 10, 3), np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    age(path)


def age(path: Path, step_ns: int = 0) -> None:
    os.utime(path, ns=(OLD_NS + step_ns, OLD_NS + step_ns))


def index_of(folder: Path) -> Index:
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    names = (path.relative_to(folder).as_posix() for path in paths)
    return Index(folder, ("a", "b"), Rows(folder, ((name, 0, None) for name in names)), ())


def run(
    folder: Path,
    cache: Path | None,
    *,
    spec: PreprocessSpec = SPEC,
    budget_bytes: int = 10**9,
    write: bool = True,
) -> tuple[PixelStore, Intake]:
    """What one run takes in."""
    index = index_of(folder)
    store = pixel_store(index, spec, budget_bytes=budget_bytes, cache=cache)
    return store, take_in(index, store=store, workers=1, write=write)


def usable(intake: Intake) -> list[int]:
    return [row for row, record in enumerate(intake.records) if record.error is None]


def pixels(found: tuple[PixelStore, Intake]) -> NDArray[np.uint8]:
    return found[0].gather(usable(found[1]))


def expected(folder: Path, spec: PreprocessSpec = SPEC) -> NDArray[np.uint8]:
    """Uint8 B C H W of good PNGs, by Pillow and the spec alone."""
    paths = sorted(folder.rglob("*.png"))
    prepared = [spec.prepare(np.asarray(Image.open(path).convert("RGB"))) for path in paths]
    return np.ascontiguousarray(np.stack(prepared).transpose(0, 3, 1, 2))


def same_records(a: Intake, b: Intake) -> bool:
    """Equal, but for the time and place of the files."""
    return [_content(record) for record in a.records] == [_content(r) for r in b.records]


def _content(record: object) -> object:
    return replace(record, path=Path(), mtime_ns=0)  # type: ignore[type-var]


def stored_files(cache: Path) -> list[Path]:
    return sorted(cache.glob("pixels/*/*.pixels"))
