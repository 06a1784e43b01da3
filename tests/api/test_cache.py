"""`opsin.cache` lists what there is, and deletes what Opsin wrote and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.stored import Here, run, write_pictures

import opsin
from opsin.api.cache import KINDS, CacheResult
from opsin.core.errors import NoRoom, WrongUsage
from opsin.core.machine_record import remember
from opsin.core.preprocess import PreprocessSpec
from opsin.data import scan
from opsin.features.store import FeatureStore, name_of

COUNT = 5
DAY_S = 86400.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder with something of each kind, and foreign files beside it."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("OPSIN_CACHE_DIR", str(cache))
    monkeypatch.setattr(scan, "IsolatedWorker", Here)
    photos = write_pictures(tmp_path / "photos", COUNT)
    run(photos, cache, spec=PreprocessSpec(size_px=(16, 24), resize="pad"))
    run(photos, cache, spec=PreprocessSpec(size_px=(16, 16), crop_frac=0.5))
    for which in "ab":
        assert FeatureStore(cache).save(name_of(which), [name_of("picture")], torch.zeros(1, 2))
    assert remember("settings", {}, {})
    return cache


def foreign(cache: Path, outside: Path) -> list[Path]:
    """Files that are nobody's business, in all the wrong places."""
    outside.mkdir()
    (pixels,) = {path.parent.parent for path in cache.glob("pixels/*/*.pixels")}
    places = [
        cache / "photo.pixels",
        cache / "other" / "a.safetensors",
        pixels / "notes.txt",
        *(folder / "holiday.pixels" for folder in sorted(pixels.iterdir()) if folder.is_dir()),
        cache / "features" / "a.txt",
        cache / "features" / "my_model.safetensors",
        cache / "features" / "mine" / f"{'0' * 32}.{'0' * 16}.safetensors",
        cache / "machine" / "notes.json",
        cache / "pixels" / "mine" / ("0" * 16 + ".pixels"),
        cache / "features" / ".hidden.safetensors",
        cache / "machine" / "c.safetensors",
        outside / ("0" * 16 + ".pixels"),
        outside / "mine.safetensors",
        outside / "mine.json",
    ]
    for path in places:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
    for kind in KINDS:
        (cache / kind / "link").symlink_to(outside)
    links = [cache / "features" / "l.safetensors", cache / "machine" / "l.json"]
    for link in links:
        link.symlink_to(outside / "mine.json")
    return [*places, *links]


def total(result: CacheResult, kind: str) -> tuple[int, int, int]:
    entries = [entry for entry in result.kept if entry.kind == kind]
    return (
        sum(entry.files for entry in entries),
        sum(entry.pictures for entry in entries),
        sum(entry.size_bytes for entry in entries),
    )


def test_it_lists_what_is_kept(folder: Path) -> None:
    result = opsin.cache()
    pixels = list(folder.glob("pixels/*/*.pixels"))
    sizes = [
        sum(path.stat().st_size for path in paths)
        for paths in (pixels, folder.glob("features/*"), folder.glob("machine/*"))
    ]
    assert total(result, "pixels") == (2, 2 * COUNT, sizes[0])
    assert total(result, "features") == (2, 0, sizes[1])
    assert total(result, "machine") == (1, 0, sizes[2])
    assert result.size_bytes == sum(sizes)
    holds = sorted(entry.holds for entry in result.kept if entry.kind == "pixels")
    assert holds == ["16 × 16 px, stretch, bilinear, crop 0.5", "24 × 16 px, pad, bilinear"]
    assert all(abs(entry.last_used - time.time()) < 60 for entry in result.kept)
    assert (result.folder, result.cleared) == (folder, ())


@pytest.mark.parametrize("kind", [*KINDS, "all"])
def test_it_clears_one_kind_or_all(folder: Path, kind: str) -> None:
    before = opsin.cache()
    result = opsin.cache(clear=kind)
    gone = {entry.kind for entry in result.cleared}
    assert gone == (set(KINDS) if kind == "all" else {kind})
    assert {entry.kind for entry in result.kept} == set(KINDS) - gone
    assert sorted([*result.kept, *result.cleared], key=str) == sorted(before.kept, key=str)
    assert opsin.cache().kept == result.kept
    if "pixels" in gone:
        assert not list(folder.glob("pixels/*")), "no empty folder is left"


def test_it_touches_nothing_of_anybody_else(folder: Path, tmp_path: Path) -> None:
    mine = foreign(folder, tmp_path / "outside")
    before = opsin.cache()
    assert total(before, "pixels")[0] == 2
    result = opsin.cache(clear="all")
    assert result.kept == ()
    for path in mine:
        assert path.is_symlink() or path.read_bytes() == b"mine", path
    left = {path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    assert {path for path in left if path.name != "spec.json"} == {
        path for path in mine if folder in path.parents and not path.is_symlink()
    }


def test_a_kind_whose_folder_is_a_link_is_left_alone(folder: Path, tmp_path: Path) -> None:
    elsewhere = (folder / "features").rename(tmp_path / "elsewhere")
    (folder / "features").symlink_to(elsewhere)
    assert {entry.kind for entry in opsin.cache(clear="all").cleared} == {"pixels", "machine"}
    assert len(list(elsewhere.rglob("*.safetensors"))) == 2


def test_older_than(folder: Path) -> None:
    old, _ = folder.glob("features/*")
    os.utime(old, (time.time() - 31 * DAY_S,) * 2)
    assert total(opsin.cache(older_than="30d"), "features") == (1, 0, old.stat().st_size)
    assert opsin.cache(older_than="32d").kept == ()
    result = opsin.cache(clear="all", older_than="30d")
    assert [entry.files for entry in result.cleared] == [1]
    assert not old.exists()
    assert total(opsin.cache(), "features")[0] == 1
    assert total(opsin.cache(), "pixels")[0] == 2


def test_use_counts_as_use(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("pixels/*/*.pixels"):
        os.utime(path, (time.time() - 31 * DAY_S,) * 2)
    run(tmp_path / "photos", folder, spec=PreprocessSpec(size_px=(16, 24), resize="pad"))
    assert [entry.holds for entry in opsin.cache(older_than="30d").kept] == [
        "16 × 16 px, stretch, bilinear, crop 0.5"
    ]


def test_a_run_that_uses_them_goes_on(folder: Path, tmp_path: Path) -> None:
    spec = PreprocessSpec(size_px=(16, 24), resize="pad")
    store, _ = run(tmp_path / "photos", folder, spec=spec)
    before = store.gather(range(COUNT))
    opsin.cache(clear="all")
    for path in (tmp_path / "photos").iterdir():
        path.unlink()
    assert np.array_equal(store.gather(range(COUNT)), before)


def test_what_killed_writers_left_goes_too(folder: Path) -> None:
    (place, _) = sorted(folder.glob("pixels/*"))
    left = place / ("." + "0" * 16 + ".pixels." + "0" * 8 + ".tmp")
    left.touch()
    opsin.cache(clear="pixels")
    assert left.exists(), "it might still be writing"
    os.utime(left, (time.time() - 2 * 3600,) * 2)
    (place / ("1" * 16 + ".pixels")).write_bytes(b"")
    opsin.cache(clear="pixels")
    assert not place.exists()


def test_without_a_folder_there_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSIN_CACHE_DIR", str(tmp_path / "none"))
    assert opsin.cache(clear="all") == CacheResult(tmp_path / "none", (), ())
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"clear": "pixel"}, 'did you mean "pixels"'),
        ({"clear": "../.."}, "Allowed: pixels, features, machine, all"),
        ({"older_than": "soon"}, "for example 30d"),
        ({"older_than": "-3d"}, "for example 30d"),
        ({"older_than": "d"}, "for example 30d"),
    ],
)
def test_wrong_usage(folder: Path, given: dict[str, str], said: str) -> None:
    with pytest.raises(WrongUsage, match=said.replace(".", r"\.")):
        opsin.cache(**given)  # type: ignore[arg-type]
    assert len(opsin.cache().kept) == 4


def test_a_file_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OPSIN_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(WrongUsage, match="a file"):
        opsin.cache()
    monkeypatch.setenv("OPSIN_CACHE_DIR", str(tmp_path / "file" / "inside"))
    with pytest.raises(WrongUsage, match="a file"):
        opsin.cache()


def test_what_cannot_be_deleted_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *arguments: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(NoRoom, match="not writable"):
        opsin.cache(clear="features")
