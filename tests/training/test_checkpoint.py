"""Checkpoints: whole, checked, one spare."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from opsin.core.errors import ModelRefused
from opsin.training.checkpoint import CheckpointStore
from opsin.training.snapshot import pack_optimizer, unpack_optimizer

LOSS = "val_loss"


def store_with(tmp_path: Path, epochs: int) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "c")
    for epoch in range(1, epochs + 1):
        store.save(epoch, {"epoch": epoch}, {"model.w": torch.full((50,), float(epoch))})
    return store


def test_two_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    store = store_with(tmp_path, 5)
    assert len(list(store.folder.iterdir())) == 2
    saved, notes = store.newest()
    assert saved is not None
    assert saved.state == {"epoch": 5}
    assert saved.tensors["model.w"][0] == 5
    assert notes == []


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """Safetensors itself accepts most of them."""
    store = store_with(tmp_path, 2)
    path = sorted(store.folder.iterdir())[-1]
    whole = path.read_bytes()
    draw = random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        saved, notes = store.newest()
        assert saved is not None
        assert saved.state == {"epoch": 1}
        assert len(notes) == 1
        aside = path.with_name(path.name + ".damaged")
        assert aside.read_bytes() == damaged
        aside.unlink()
    path.write_bytes(whole)
    assert store.newest()[1] == []


def test_none_whole(tmp_path: Path) -> None:
    store = store_with(tmp_path, 2)
    for path in store.folder.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    before = sorted(path.name for path in store.folder.iterdir())
    assert len(store.newest(set_aside=False)[1]) == 2
    assert sorted(path.name for path in store.folder.iterdir()) == before
    for _ in range(3):  # it stays refused, however often one asks
        saved, notes = store.newest()
        assert saved is None
        assert len(notes) == 2


def test_half_written_files_are_not_seen_and_go_away(tmp_path: Path) -> None:
    store = store_with(tmp_path, 1)
    (store.folder / ".step-00000002.abc.safetensors.12345678.tmp").write_bytes(b"half")
    assert store.newest()[1] == []
    store.save(2, {"epoch": 2}, {"model.w": torch.zeros(2)})
    assert not list(store.folder.glob(".*"))


def test_best_is_found_by_epoch_and_missing_is_explained(tmp_path: Path) -> None:
    store = store_with(tmp_path, 1)
    store.save_best(LOSS, 3, {"w": torch.ones(2)})
    store.save_best(LOSS, 4, {"w": torch.zeros(2)})
    assert store.best(LOSS, 3).tensors["w"][0] == 1
    store.tidy_best(LOSS, {4})
    with pytest.raises(ModelRefused, match="best epoch"):
        store.best(LOSS, 3)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD, torch.optim.NAdam])
def test_optimizer_state_survives(kind: type[torch.optim.Optimizer]) -> None:
    def steps(model: torch.nn.Linear, optimizer: torch.optim.Optimizer, count: int) -> None:
        for n in range(count):
            optimizer.zero_grad()
            model(torch.full((2, 3), float(n + 1))).square().sum().backward()
            optimizer.step()

    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = kind(model.parameters(), lr=0.01, **options)
    steps(model, optimizer, 3)
    state, tensors = pack_optimizer(optimizer)
    copy = torch.nn.Linear(3, 2)
    copy.load_state_dict({k: v.clone() for k, v in model.state_dict().items()})
    other = kind(copy.parameters(), lr=9.0, **options)
    unpack_optimizer(other, state, {k: v.clone() for k, v in tensors.items()})
    steps(model, optimizer, 3)
    steps(copy, other, 3)
    assert torch.equal(model.weight, copy.weight)


def test_epochs_are_ordered_as_numbers(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "c")
    for epoch in (9998, 9999, 10_000, 10_001):
        store.save(epoch, {"epoch": epoch}, {"w": torch.zeros(1)})
    saved, _ = store.newest()
    assert saved is not None
    assert saved.state["epoch"] == 10_001


def test_the_best_of_an_epoch_is_the_one_written_last(tmp_path: Path) -> None:
    """Killed before its checkpoint, then resumed where the bits differ."""
    store = store_with(tmp_path, 1)
    for value in range(8):
        store.save_best(LOSS, 3, {"w": torch.full((2,), float(value))})
        assert store.best(LOSS, 3).tensors["w"][0] == value
    assert len(list(store.folder.glob("best-*"))) == 1


def test_bests_of_several_monitors_keep_apart(tmp_path: Path) -> None:
    store = store_with(tmp_path, 1)
    names = ["val_loss", "val_loss_2", "val_recall:a/b", "val_recall:a b", "val_recall:\udcff"]
    for value, name in enumerate(names):
        store.save_best(name, 3, {"w": torch.full((2,), float(value))})
    for value, name in enumerate(names):
        assert store.best(name, 3).tensors["w"][0] == value
    store.tidy_best("val_loss", set())
    with pytest.raises(ModelRefused):
        store.best("val_loss", 3)
    assert store.best("val_loss_2", 3).tensors["w"][0] == 1


def test_the_same_step_with_its_validation_replaces_the_one_without(tmp_path: Path) -> None:
    store = store_with(tmp_path, 3)
    store.save(3, {"epoch": 3, "validated": True}, {"w": torch.zeros(1)})
    names = sorted(path.name.split(".")[0] for path in store.folder.iterdir())
    assert names == ["step-00000002", "step-00000003"]
    saved, _ = store.newest()
    assert saved
    assert saved.state == {"epoch": 3, "validated": True}
