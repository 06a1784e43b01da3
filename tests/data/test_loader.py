"""Batches: keyed order and augmentation, whatever the workers and the epoch before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from opsin.core.preprocess import PreprocessSpec
from opsin.data.augment.registry import AUGMENTATIONS
from opsin.data.augment.trivial import BINS, OPERATIONS, apply
from opsin.data.dataset import ImageDataset
from opsin.data.loader import Loader, batch_plan
from opsin.data.pixels import PixelStore

SPEC = PreprocessSpec(size_px=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
COUNT = 21


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    draw = np.random.default_rng(0)
    paths = []
    for number in range(COUNT):
        path = folder / f"{number}.png"
        Image.fromarray(draw.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
        paths.append(path)
    return paths


def loader(
    files: list[Path], augment: str, workers: int, *, stored: bool = True, seed: int = 0
) -> Loader:
    store = PixelStore(files, SPEC, budget_bytes=10**9 if stored else 0)
    if stored:
        for row, path in enumerate(files):
            store.put(row, SPEC.prepare(np.asarray(Image.open(path))))
    ids = [path.name for path in files]
    dataset = ImageDataset(store, range(COUNT), range(COUNT), ids, seed=seed, augment=augment)
    return Loader(dataset, torch.tensor, batch_size=4, shuffle=True, workers=workers)


def epochs(made: Loader, numbers: list[int]) -> list[tuple[torch.Tensor, list[int], object]]:
    return [
        (batch.inputs, batch.targets.tolist(), batch.ids)
        for number in numbers
        for batch in made.epoch(number)
    ]


@pytest.mark.parametrize("augment", list(AUGMENTATIONS))
def test_workers_stores_and_restarts_change_nothing(files: list[Path], augment: str) -> None:
    here = epochs(loader(files, augment, 0), [1, 2])
    others = [
        epochs(loader(files, augment, 2), [1, 2]),
        epochs(loader(files, augment, 0), [1]) + epochs(loader(files, augment, 0), [2]),
        epochs(loader(files, augment, 0, stored=False), [1, 2]),
    ]
    for other in others:
        assert len(here) == len(other) == 10
        for (a, a_targets, a_ids), (b, b_targets, b_ids) in zip(here, other, strict=True):
            assert torch.equal(a, b)
            assert (a_targets, a_ids) == (b_targets, b_ids)


def test_order_changes_with_epoch_and_seed_and_misses_nothing(files: list[Path]) -> None:
    def order(epoch: int, seed: int) -> list[int]:
        made = loader(files, "none", 0, seed=seed)
        return [t for _, targets, _ in epochs(made, [epoch]) for t in targets]

    assert order(1, 0) != order(2, 0)
    assert order(1, 0) != order(1, 1)
    assert sorted(order(1, 0)) == list(range(COUNT))


@pytest.mark.parametrize("augment", ["light", "trivial"])
def test_augmentation_changes_pictures_and_differs_by_epoch(
    files: list[Path], augment: str
) -> None:
    by_id = [
        {
            name: row
            for inputs, _, ids in epochs(loader(files, kind, 0), [epoch])
            for name, row in zip(ids, inputs, strict=True)
        }
        for kind, epoch in (("none", 1), (augment, 1), (augment, 2))
    ]
    changed = sum(not torch.equal(by_id[0][i], by_id[1][i]) for i in by_id[0])
    assert changed > COUNT / 2
    assert sum(not torch.equal(by_id[1][i], by_id[2][i]) for i in by_id[0]) > COUNT / 2


def test_last_batch_of_one_joins_the_one_before() -> None:
    sizes = [
        len(b) for b in batch_plan([str(n) for n in range(9)], 4, seed=0, epoch=1, shuffle=True)
    ]
    assert sizes == [4, 5]
    assert [len(b) for b in batch_plan(["a"], 4, seed=0, epoch=1, shuffle=True)] == [1]


@pytest.mark.parametrize("name", OPERATIONS)
def test_trivial_operations_are_torchvisions(name: str) -> None:
    """Each operation equals torchvision's own dispatch at the same strength."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.autoaugment import TrivialAugmentWide, _apply_op

    image = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8, generator=torch.manual_seed(0))
    space = TrivialAugmentWide()._augmentation_space(BINS)
    theirs_name = "".join(part.capitalize() for part in name.split("_"))
    theirs_name = {"Autocontrast": "AutoContrast"}.get(theirs_name, theirs_name)
    values, signed = space[theirs_name]
    bin_ = 20
    magnitude = float(values[bin_]) if values.ndim else 0.0
    sign = -1.0 if signed else 1.0
    theirs = _apply_op(image, theirs_name, magnitude * sign, InterpolationMode.NEAREST, None)
    ours = apply(name, image, bin_ / (BINS - 1), sign)
    assert (ours.int() - theirs.int()).abs().max() <= 1
