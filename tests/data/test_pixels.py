"""The store by itself, and as loaders and a run use it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.stored import SPEC, expected, run, write_pictures

from opsin.api.running.preparation import prepare
from opsin.core.cache_dir import cache_dir
from opsin.core.config_checks import make_config
from opsin.core.isolated import IsolatedWorker
from opsin.core.progress import Silent
from opsin.data.dataset import ImageDataset
from opsin.data.intake import draw_split
from opsin.data.pixels import PixelStore

COUNT = 9


class Listener(Silent):
    """Remembers the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        """Keep it."""
        self.lines.append(text)


def test_in_memory(tmp_path: Path) -> None:
    photos = write_pictures(tmp_path, 3)
    wanted = expected(photos)
    store = PixelStore(sorted(photos.iterdir()), SPEC, budget_bytes=2 * wanted[0].nbytes)
    assert (store.kept, store.memory_room) == (0, 2)
    assert store.put(2, wanted[2].transpose(1, 2, 0))
    assert store.put(0, np.zeros((24, 32, 3), np.uint8))
    assert store.put(0, wanted[0].transpose(1, 2, 0)), "again, in its place"
    assert not store.put(1, wanted[1].transpose(1, 2, 0))
    assert (store.kept, store.memory_room) == (2, 0)
    assert np.array_equal(store.gather([2, 1, 0]), wanted[[2, 1, 0]])
    assert store.gather([]).shape == (0, 3, 24, 32)


def test_an_empty_data_set() -> None:
    store = PixelStore([], SPEC, budget_bytes=100)
    assert (len(store), store.kept, store.size_bytes) == (0, 0, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_loader_workers_read_it(tmp_path: Path) -> None:
    """Forked ones; those that are spawned get it pickled (test_pixel_faults.py)."""
    photos = write_pictures(tmp_path / "photos", COUNT)
    store, _ = run(photos, tmp_path / "cache")
    for path in photos.iterdir():
        path.unlink()  # so that nothing can be decoded
    data = ImageDataset(store, range(COUNT), range(COUNT), list("abcdefghi"), seed=0)
    keys = [((0, row), (0, row)) for row in range(COUNT)]
    loader = torch.utils.data.DataLoader(
        data,  # type: ignore[arg-type]
        batch_sampler=[keys[:4], keys[4:]],
        num_workers=2,
        collate_fn=lambda made: made[0],
        multiprocessing_context="fork",
    )
    found = torch.cat(list(loader)).numpy()
    wanted, _ = run(write_pictures(photos, COUNT), None)
    assert np.array_equal(found, wanted.gather(range(COUNT)))


def test_a_second_run_takes_in_the_same(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config({"data": digits, "image_size": 32, "device": "cpu"})
    (store, intake), again = (
        _taken(config.model_copy(update={"cache": cache})) for cache in (False, True)
    )

    def start(self: IsolatedWorker) -> None:
        raise AssertionError("a child process was started")

    monkeypatch.setattr(IsolatedWorker, "start", start)
    third = _taken(config)
    assert list(cache_dir().glob("pixels/*/*.pixels"))
    rows = [row for row, record in enumerate(intake.records) if record.error is None]
    for other, other_intake in (again, third):
        assert other_intake == intake, "records and findings"
        assert draw_split(other_intake, config) == draw_split(intake, config)
        assert np.array_equal(other.gather(rows), store.gather(rows))


def _taken(config: object) -> tuple[PixelStore, object]:
    listener = Listener()
    intake, store = prepare(config).take_in(listener)  # type: ignore[arg-type]
    assert listener.lines == []
    return store, intake


def test_the_person_is_told(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "file"
    place.write_text("")
    monkeypatch.setenv("OPSIN_CACHE_DIR", str(place))
    config = make_config({"data": digits, "image_size": 32, "device": "cpu"})
    listener = Listener()
    prepare(config).take_in(listener)
    assert listener.lines == [
        f"not every picture is kept for later runs in {place}: Not a directory"
    ]
