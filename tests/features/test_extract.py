"""Features computed once are the features computed every time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from opsin.api.train import train
from opsin.core.preprocess import PreprocessSpec
from opsin.core.progress import Silent
from opsin.data.dataset import ImageDataset
from opsin.data.loader import Loader
from opsin.data.pixels import PixelStore
from opsin.features.ask import AT_ONCE
from opsin.features.extract import AllAtOnce, Asking, FeatureLoader
from opsin.models.build import Origin, build, design

CPU = torch.device("cpu")


def test_same_features_order_and_batches(digits: Path) -> None:
    paths = sorted(digits.rglob("*.png"))[:50]
    paths = [p for p in paths if p.stat().st_size > 100]
    spec = PreprocessSpec(size_px=(32, 32))
    store = PixelStore(paths, spec, budget_bytes=0)
    rows = range(len(paths))
    ids = [p.as_posix() for p in paths]
    data = ImageDataset(store, rows, [0] * len(paths), ids, seed=0)
    loader = Loader(data, torch.tensor, batch_size=8, shuffle=True)
    model = build(design("lenet", Origin(), image_size=32), Origin(), 4, seed=0)
    asked = []
    model.backbone.register_forward_hook(lambda *_: asked.append(1))
    made = FeatureLoader(model.backbone, loader, torch.tensor, Asking())
    assert not asked, "nothing is computed before it is wanted"
    for _ in range(3):
        list(made.epoch(1))
    assert len(asked) == -(-len(paths) // AT_ONCE), "once for each picture"
    model.eval()
    for epoch in (1, 2):
        for a, b in zip(loader.epoch(epoch), made.epoch(epoch), strict=True):
            assert a.ids == b.ids
            with torch.no_grad():
                torch.testing.assert_close(model.backbone(a.inputs), b.inputs, atol=1e-4, rtol=0)


def test_start_share_and_balance_are_those_of_the_pictures(digits: Path) -> None:
    paths = [p for p in sorted(digits.rglob("*.png"))[:41] if p.stat().st_size > 100]
    store = PixelStore(paths, PreprocessSpec(size_px=(32, 32)), budget_bytes=0)
    targets = [0] * (len(paths) - 4) + [1] * 4
    ids = [p.as_posix() for p in paths]
    data = ImageDataset(store, range(len(paths)), targets, ids, seed=0)
    pictures = Loader(data, torch.tensor, batch_size=8, balanced=True)
    pictures.share = (2, 3)
    made = FeatureLoader(torch.nn.Flatten(), pictures, torch.tensor, Asking())
    assert made.share == (0, 1)
    for share in ((0, 1), (1, 3), (8, 9)):
        pictures.share = made.share = share
        for a, b in zip(pictures.epoch(3, 2), made.epoch(3, 2), strict=True):
            assert (a.ids, a.filler) == (b.ids, b.filler)
            assert torch.equal(a.inputs.flatten(1), b.inputs)
            assert torch.equal(a.targets, b.targets)


def augmented(digits: Path, augment: str, count: int = 24) -> Loader:
    paths = [p for p in sorted(digits.rglob("*.png")) if p.stat().st_size > 100][:count]
    store = PixelStore(paths, PreprocessSpec(size_px=(32, 32)), budget_bytes=0)
    ids = [p.as_posix() for p in paths]
    targets = [n % 2 for n in range(count)]
    data = ImageDataset(store, range(count), targets, ids, seed=3, augment=augment)
    return Loader(data, torch.tensor, batch_size=8, shuffle=True)


def test_views_are_the_pictures_of_the_first_epochs(digits: Path) -> None:
    loader = augmented(digits, "light")
    made = FeatureLoader(torch.nn.Flatten(), loader, torch.tensor, Asking(), views=2)
    for epoch, view in ((1, 1), (2, 2), (3, 1), (6, 2)):
        known = {}
        for batch in loader.epoch(view):
            known |= dict(zip(batch.ids, batch.inputs.flatten(1), strict=True))
        for batch in made.epoch(epoch):
            for name, features in zip(batch.ids, batch.inputs, strict=True):
                assert torch.equal(features, known[name])
    assert [b.ids for b in made.epoch(3)] == [b.ids for b in loader.epoch(3)]
    everything = AllAtOnce(made)
    (whole,) = everything.epoch(1)
    assert whole.inputs.shape[0] == everything.size == 2 * loader.size == len(whole)
    assert not torch.equal(whole.inputs[: loader.size], whole.inputs[loader.size :])
    assert torch.equal(whole.targets[: loader.size], torch.tensor(loader.dataset.targets))
    assert list(everything.epoch(1, 1)) == []


def test_mixed_pictures_are_refused(digits: Path) -> None:
    with pytest.raises(ValueError, match="mixed"):
        FeatureLoader(torch.nn.Flatten(), augmented(digits, "mixup"), torch.tensor, Asking())


def test_asking_leaves_no_trace(digits: Path) -> None:
    """Modes, layouts and gradients are what they were."""
    conv, norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
    norm.eval()
    backbone = torch.nn.Sequential(conv, norm, torch.nn.Flatten())
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    made = FeatureLoader(backbone, augmented(digits, "none"), torch.tensor, Asking())
    batch = next(iter(made.epoch(1)))
    assert conv.weight.is_contiguous()
    assert (conv.training, norm.training, backbone.training) == (True, False, True)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name])
    head = torch.nn.Linear(batch.inputs.shape[1], 1)
    head(batch.inputs).sum().backward()
    assert conv.weight.grad is None
    assert head.weight.grad is not None


def test_transfer_on_photos(shared_data: Path, shared_weights: Path, tmp_path: Path) -> None:
    """A linear head on frozen ImageNet features, on 75 real test photos."""
    run = train(
        shared_data / "pizza_steak_sushi",
        weights=shared_weights,
        freeze=True,
        project=tmp_path,
        report=False,
        progress=Silent(),
    )
    assert run.accuracy.count == 75
    assert run.accuracy.value >= 0.88
