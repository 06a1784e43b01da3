"""Pixels on their way to a device: the same batch, whichever way it goes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.data.stored import run, write_pictures

from opsin.core.batch import Batch, Mixed
from opsin.core.preprocess import PreprocessSpec
from opsin.data.ahead import ahead
from opsin.data.dataset import ImageDataset
from opsin.data.landing import CPU, Landing, landing_on
from opsin.data.loader import Loader

# A margin, so that the centre has to be cut where the pixels land.
SPEC = PreprocessSpec(
    size_px=(8, 6), resize="crop", crop_frac=0.5, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)
)


def batch(count: int = 3) -> Batch:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, *SPEC.prepared_px), generator=draw).to(torch.uint8)
    targets = {"label": torch.arange(count), "boxes": [torch.zeros(2), torch.ones(1)]}
    mixed = Mixed((torch.arange(count),), torch.rand(count, generator=draw))
    return Batch(pixels, targets, tuple("abc"[:count]), True, mixed)


def expected(pixels: torch.Tensor) -> torch.Tensor:
    (top, left), (height, width) = SPEC.margin_px, SPEC.size_px
    assert top
    centre = pixels[:, :, top : top + height, left : left + width].double()
    mean, std = (torch.tensor(each, dtype=torch.float64) for each in (SPEC.mean, SPEC.std))
    return (centre / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)


class Spy:
    """Stands for pinning: another tensor of the same numbers."""

    def __init__(self) -> None:
        self.pinned: list[torch.Tensor] = []
        self.threads: set[str] = set()

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        self.threads.add(threading.current_thread().name)
        self.pinned.append(value.clone())
        return self.pinned[-1]


def test_both_ways_give_the_same_floats() -> None:
    given, spy = batch(), Spy()
    for landing in (Landing(SPEC), Landing(SPEC, pin=spy)):
        found = landing.land(landing.ready(given))
        assert found.inputs.dtype == torch.float32
        torch.testing.assert_close(found.inputs.double(), expected(given.inputs), rtol=0, atol=1e-6)
        assert (found.ids, found.filler) == (given.ids, True)
        assert found.targets["boxes"][0].tolist() == [0, 0]
        assert found.mixed is not None
        assert given.mixed is not None
        assert torch.equal(found.mixed.share, given.mixed.share)
    first, second = (each.land(each.ready(given)).inputs for each in (Landing(SPEC), landing))
    assert torch.equal(first, second), "on one device to the bit"


def test_what_is_pinned_is_uint8_and_every_tensor_of_the_batch() -> None:
    spy = Spy()
    ready = Landing(SPEC, pin=spy).ready(batch())
    assert ready.inputs.dtype == torch.uint8
    sizes = sorted(tuple(value.shape) for value in spy.pinned)
    tall, wide = SPEC.prepared_px
    assert sizes == sorted([(3, 3, tall, wide), (3,), (2,), (1,), (3,), (3,)])


def test_without_pinning_nothing_is_copied_but_the_floats() -> None:
    given = batch()
    ready = Landing(SPEC).ready(given)
    assert ready.targets["label"] is given.targets["label"]
    assert Landing(SPEC).land(ready) is ready
    assert ready.to(CPU).inputs is ready.inputs


def test_only_cuda_is_reached_over_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def watch(spec: PreprocessSpec, device: torch.device, *, pin: Any) -> None:
        made.append((device.type, pin))

    monkeypatch.setattr("opsin.data.landing.Landing", watch)
    for name in ("cpu", "mps", "cuda:1"):
        landing_on(torch.device(name), SPEC)
    assert made == [("cpu", None), ("mps", None), ("cuda", torch.Tensor.pin_memory)]


@pytest.mark.parametrize("cores", [1, 16])
def test_made_ahead_and_landed_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    """Pinning belongs to the thread that prepares, the copy to the one that learns."""
    monkeypatch.setattr("opsin.data.ahead.usable_cores", lambda: cores)
    where: dict[str, set[str]] = {"make": set(), "land": set()}

    def note(what: str) -> Callable[[int], int]:
        def work(number: int) -> int:
            where[what].add(threading.current_thread().name)
            return number + (1 if what == "make" else 10)

        return work

    assert list(ahead(note("make"), range(5), note("land"))) == [11, 12, 13, 14, 15]
    assert where["land"] == {threading.main_thread().name}
    assert ("opsin-batches_0" in where["make"]) == (cores == 16)
    where["make"].clear()
    assert list(ahead(note("make"), range(2), note("land"), beforehand=False)) == [11, 12]
    assert where["make"] == {threading.main_thread().name}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_card_the_floats_are_those_of_the_processor() -> None:
    cuda = torch.device("cuda")
    landing = landing_on(cuda, SPEC)
    ready = landing.ready(batch())
    assert ready.inputs.is_pinned()
    found = landing.land(ready)
    assert found.inputs.device.type == found.targets["label"].device.type == "cuda"
    torch.testing.assert_close(
        found.inputs.cpu().double(), expected(batch().inputs), rtol=0, atol=1e-6
    )
    assert found.to(cuda).inputs is found.inputs


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("augment", ["none", "light,mixup"])
def test_a_loader_over_pinned_memory_gives_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, augment: str
) -> None:
    monkeypatch.setattr("opsin.data.ahead.usable_cores", lambda: 16)
    folder = write_pictures(tmp_path / "pictures", 11)
    plain = loader(folder, augment, workers=0)
    spy = Spy()
    monkeypatch.setattr("opsin.data.loader.landing_on", lambda device, spec: Landing(spec, pin=spy))
    over = loader(folder, augment, workers=workers)
    for one, other in zip(plain.epoch(1), over.epoch(1), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert (one.ids, one.targets.tolist()) == (other.ids, other.targets.tolist())
        assert (one.mixed is None) == (other.mixed is None) == (augment == "none")
        if one.mixed is not None and other.mixed is not None:
            assert torch.equal(one.mixed.share, other.mixed.share)
    assert {value.dtype for value in spy.pinned if value.ndim == 4} == {torch.uint8}
    here = threading.main_thread().name
    assert spy.threads == ({here} if workers else {"opsin-batches_0"})


def loader(folder: Path, augment: str, *, workers: int) -> Loader:
    store, _ = run(folder, None)
    ids = [path.name for path in store.paths]
    rows = range(len(ids))
    dataset = ImageDataset(store, rows, rows, ids, seed=0, augment=augment)
    return Loader(dataset, torch.tensor, batch_size=4, shuffle=True, workers=workers)


class Held(torch.Tensor):
    """Says that it is pinned, and how it was moved."""

    moves: list[dict[str, Any]]

    def is_pinned(self, device: Any = None) -> bool:
        return True

    def to(self, *where: Any, **how: Any) -> Any:
        self.moves.append({"to": str(where[0]), **how})
        return self


@pytest.mark.parametrize(
    ("device", "how"),
    [
        ("cuda", {"to": "cuda", "non_blocking": True}),
        ("mps", {"to": "mps"}),
        ("cpu", {"to": "cpu"}),
    ],
)
def test_only_a_copy_to_cuda_is_left_to_itself(device: str, how: dict[str, Any]) -> None:
    inputs = torch.zeros(2).as_subclass(Held)
    inputs.moves = []

    class Odd:
        def to(self, device: torch.device) -> str:
            return f"on {device}"

    moved = Batch(inputs, {"odd": Odd()}, ("a", "b")).to(torch.device(device))
    assert inputs.moves == [how]
    assert moved.targets == {"odd": f"on {device}"}
