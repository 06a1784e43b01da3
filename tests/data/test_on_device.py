"""Pictures that lie on a device: to the bit those of the store. Here the device is the processor,
for which nothing of the code is different.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.stored import SLOT, run, write_pictures

from opsin.data.dataset import ImageDataset
from opsin.data.landing import CPU, Landing
from opsin.data.loader import Loader
from opsin.data.on_device import OnDevice, Pictures, place
from opsin.data.pixels import PixelStore

COUNT = 11
ROWS = [10, 2, 7, 0, 5, 9, 1, 3, 8]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("on_device") / "pictures", COUNT)


def kept(folder: Path, place: str, tmp_path: Path) -> PixelStore:
    """A store with its pictures in files, in memory, half of them in memory, or nowhere."""
    budget = {"memory": 10**9, "half": SLOT * 5}.get(place, 0)
    return run(folder, tmp_path / "cache" if place == "files" else None, budget_bytes=budget)[0]


def loader(store: Pictures, *, shuffle: bool = True, workers: int = 0) -> Loader:
    ids = [f"{row}" for row in ROWS]
    dataset = ImageDataset(store, ROWS, ROWS, ids, seed=0)
    return Loader(dataset, torch.tensor, batch_size=4, shuffle=shuffle, workers=workers)


@pytest.mark.parametrize("where", ["files", "memory", "half", "nowhere"])
def test_batches_are_those_of_the_store(
    folder: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = kept(folder, where, tmp_path)
    assert store.kept == {"half": 5, "nowhere": 0}.get(where, COUNT)
    # Pieces of two pictures, the last of one.
    there = OnDevice(store, ROWS, CPU, piece_bytes=2 * SLOT + 5)
    plain, over = loader(store), loader(there)
    monkeypatch.setattr("opsin.data.ahead.usable_cores", lambda: 16)
    for epoch in (1, 2):
        whole = list(plain.epoch(epoch))
        assert [len(batch) for batch in whole] == [4, 5]
        for one, other in zip(whole, over.epoch(epoch), strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert (one.ids, one.targets.tolist()) == (other.ids, other.targets.tolist())
        rest = list(over.epoch(epoch, 1))
        assert len(rest) == 1
        assert torch.equal(rest[0].inputs, whole[1].inputs)
    once = [batch.inputs for batch in loader(there, shuffle=False).once(0, [3, 0])]
    assert torch.equal(torch.cat(once), next(plain.once(0, [3, 0])).inputs)


def test_they_are_read_once_in_pieces_and_picked_afterwards(folder: Path, tmp_path: Path) -> None:
    store = kept(folder, "nowhere", tmp_path)
    asked: list[list[int]] = []
    gather = store.gather

    def watched(rows: list[int]) -> object:
        asked.append(list(rows))
        return gather(rows)

    store.gather = watched  # type: ignore[method-assign, assignment]
    there = OnDevice(store, ROWS, CPU, piece_bytes=4 * SLOT)
    assert not asked, "not before they are wanted"
    for _ in range(3):
        found = there.gather([7, 7, 10])
    assert asked == [ROWS[:4], ROWS[4:8], ROWS[8:]]
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), gather([7, 7, 10]))
    before = found.clone()
    found += 1
    assert torch.equal(torch.as_tensor(there.gather([7, 7, 10])), before), "memory of their own"


def test_one_picture_as_a_sample(folder: Path, tmp_path: Path) -> None:
    store = kept(folder, "memory", tmp_path)
    there = loader(OnDevice(store, ROWS, CPU)).dataset
    sample = there[0, 2]
    assert np.array_equal(sample.image, store[ROWS[2]])
    assert (sample.target, sample.source_id) == (ROWS[2], str(ROWS[2]))


def test_first_come_first_served_within_a_share(folder: Path, tmp_path: Path) -> None:
    store = kept(folder, "memory", tmp_path)
    rows = {"train": [0, 1, 2, 3], "val": [4, 5], "test": [6], "none": []}

    def names(slots: float) -> list[str]:
        return list(place(store, rows, CPU, free_bytes=int(4 * slots * SLOT)))

    assert names(0) == []
    assert names(7) == ["train", "val", "test"]
    assert names(6.5) == ["train", "val"]
    assert names(5) == ["train", "test"]
    assert names(3) == ["val", "test"]
    placed = place(store, rows, CPU, free_bytes=10**9)
    assert {name: each.size_bytes for name, each in placed.items()} == {
        "train": 4 * SLOT,
        "val": 2 * SLOT,
        "test": SLOT,
    }


def test_what_does_not_fit_after_all_comes_from_the_store(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = kept(folder, "memory", tmp_path)
    said: list[str] = []
    there = OnDevice(store, ROWS, CPU, say=said.append)
    tries: list[object] = []

    def full(*shape: object, **options: object) -> None:
        tries.append(shape)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("opsin.data.on_device.torch.empty", full)
    for _ in range(2):
        assert np.array_equal(there.gather([7, 0]), store.gather([7, 0]))
    assert len(tries) == 1
    assert len(said) == 1
    assert said[0].endswith("on cpu any more: each batch is moved")
    monkeypatch.undo()
    # The batch then goes as any other does.
    over = loader(there)
    over._landing = Landing(store.spec, pin=torch.clone)
    for one, other in zip(loader(store).epoch(1), over.epoch(1), strict=True):
        assert torch.equal(one.inputs, other.inputs)


def test_another_error_is_not_taken_for_a_full_memory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = OnDevice(kept(folder, "memory", tmp_path), ROWS, CPU)

    def broken(*shape: object, **options: object) -> None:
        raise RuntimeError("device-side assert triggered")

    monkeypatch.setattr("opsin.data.on_device.torch.empty", broken)
    with pytest.raises(RuntimeError, match="device-side"):
        there.gather([7])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_card(folder: Path, tmp_path: Path) -> None:
    store = kept(folder, "memory", tmp_path)
    there = OnDevice(store, ROWS, torch.device("cuda"), piece_bytes=2 * SLOT)
    found = there.gather([7, 0])
    assert isinstance(found, torch.Tensor)
    assert found.device.type == "cuda"
    assert np.array_equal(found.cpu().numpy(), store.gather([7, 0]))
