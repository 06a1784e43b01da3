"""A stored feature is what would be computed again, or it is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from opsin.core.preprocess import PreprocessSpec
from opsin.data.dataset import ImageDataset
from opsin.data.loader import Loader
from opsin.data.pixels import PixelStore
from opsin.features import store as module
from opsin.features.ask import AT_ONCE
from opsin.features.extract import Asking, FeatureLoader
from opsin.features.store import FeatureStore, features_key, hash_of, name_of

CPU = torch.device("cpu")


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    said: list[str] = []
    store = FeatureStore(tmp_path, say=said.append)
    values, names = torch.randn(5, 3, 2), named("abcde")
    assert store.known("k", names) == {}
    assert store.save("k", names[:3], values[:3])
    assert store.save("k", names[3:], values[3:])
    found = store.known("k", named("eda?"))
    assert found.keys() == set(named("eda"))
    for name, value in found.items():
        assert torch.equal(value, values[names.index(name)])
    assert store.missing("k", named("eda?!")) == 2
    assert store.known("other", names) == {}
    assert store.missing("other", names) == 5
    assert not said


def named(letters: str) -> list[str]:
    return [name_of(letter) for letter in letters]


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("spoil", [flip, lambda data: data[: len(data) // 2], lambda data: b""])
def test_damage_is_found_and_told_once(tmp_path: Path, spoil: Any) -> None:
    said: list[str] = []
    store = FeatureStore(tmp_path, say=said.append)
    for key in ("a", "b"):
        store.save(key, named("abcd"), torch.ones(4, 2))
        path = next(store.folder.glob(f"{key}.*"))
        path.write_bytes(spoil(path.read_bytes()))
        assert store.known(key, named("abcd")) == {}
        assert not path.exists()
    assert len(said) == 1
    assert "damaged" in said[0]


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    (tmp_path / "file").write_text("")
    store = FeatureStore(tmp_path / "file", say=said.append)
    assert not store.save("k", named("ab"), torch.ones(2, 2))
    assert not store.save("l", named("ab"), torch.ones(2, 2))
    assert len(said) == 1
    monkeypatch.setattr(module, "disk_free", lambda folder: 63)
    store = FeatureStore(tmp_path, say=said.append)
    assert not store.save("k", named("ab"), torch.ones(2, 2))
    assert "quarter" in said[1]
    monkeypatch.setattr(module, "disk_free", lambda folder: 64)
    assert store.save("k", named("ab"), torch.ones(2, 2))


def test_the_key_is_of_everything_that_decides() -> None:
    a = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    one = hash_of(a)
    a[1].running_mean[0] += 1e-7
    two = hash_of(a)
    a[1].eps = 1e-3
    assert len({one, two, hash_of(a), hash_of(a, "name")}) == 4
    keys = {
        features_key(one, device=CPU),
        features_key(two, device=CPU),
        features_key(one, device=CPU, batch=8),
        features_key(one, device=torch.device("meta")),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    keys.add(features_key(one, device=CPU))
    torch.set_num_threads(threads)
    assert len(keys) == 5
    assert features_key(one, device=CPU) in keys


def pictures(digits: Path, **more: Any) -> Loader:
    paths = [p for p in sorted(digits.rglob("*.png")) if p.stat().st_size > 100][:40]
    spec = PreprocessSpec(size_px=(32, 32))
    store = PixelStore(paths, spec, budget_bytes=0)
    ids = [p.as_posix() for p in paths]
    data = ImageDataset(store, range(40), [0] * 40, ids, seed=0, **more)
    return Loader(data, torch.tensor, batch_size=8, shuffle=True)


@pytest.mark.parametrize("augment", ["none", "light"])
def test_a_hit_asks_nobody_and_has_the_same_bits(
    digits: Path, tmp_path: Path, augment: str
) -> None:
    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 4), torch.nn.Flatten())
    asked: list[int] = []
    backbone.register_forward_hook(lambda *_: asked.append(1))
    loader = pictures(digits, augment=augment)
    contents = [f"content of {name}" for name in loader.dataset.ids]
    views = 2 if augment == "light" else 1

    def made(**more: Any) -> torch.Tensor:
        asking = Asking(store=FeatureStore(tmp_path))
        given = {"views": views, "contents": contents} | more
        return FeatureLoader(backbone, loader, torch.tensor, asking, **given).everything().inputs

    first = made()
    passes = len(asked)
    assert passes == views * 3
    assert len(list((tmp_path / "features").iterdir())) == views
    assert torch.equal(made(), first)
    assert len(asked) == passes
    assert torch.equal(made(contents=None), first)
    assert len(asked) == 2 * passes
    other = [*contents[:-1], "another picture"]
    made(contents=other)
    assert len(asked) == 2 * passes + views, "about the other picture alone"
    with torch.no_grad():
        backbone[0].bias += 1
    assert not torch.equal(made(), first)


def timm_backbone(name: str) -> torch.nn.Module:
    import timm

    torch.manual_seed(0)
    made: torch.nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    return made


@pytest.mark.parametrize("name", ["mobilenetv2_050", "resnet10t", "vit_tiny_patch16_224"])
def test_an_answer_is_the_same_in_any_company(digits: Path, tmp_path: Path, name: str) -> None:
    """Another split, or some more pictures, ask about what is new alone, with the bits that asking
    about everything gives; a run whose stored features were deleted goes on as it began.
    """
    backbone = timm_backbone(name)
    paths = [p for p in sorted(digits.rglob("*.png")) if p.stat().st_size > 100][:37]
    side = 224 if name.startswith("vit") else 64
    store = PixelStore(paths, PreprocessSpec(size_px=(side, side)), budget_bytes=0)
    asked: list[int] = []
    backbone.register_forward_hook(lambda _, given, __: asked.append(len(given[0])))

    def features(rows: list[int], cache: Path) -> torch.Tensor:
        ids = [paths[row].as_posix() for row in rows]
        data = ImageDataset(store, rows, [0] * len(rows), ids, seed=0)
        loader = Loader(data, torch.tensor, batch_size=8)
        asking = Asking(store=FeatureStore(cache))
        return FeatureLoader(backbone, loader, torch.tensor, asking, contents=ids).view(0)

    everything = features(list(range(37)), tmp_path / "a")
    assert asked == [AT_ONCE] * 3
    some = [30, 2, 11, 36, 5]
    assert torch.equal(features(some, tmp_path / "b"), everything[some])
    asked.clear()
    back = list(reversed(range(37)))
    assert torch.equal(features(back, tmp_path / "b"), everything[back])
    assert asked == [AT_ONCE] * 2, "32 of 37 were new"
    assert torch.equal(features(back, tmp_path / "b"), everything[back])
    assert len(asked) == 2
