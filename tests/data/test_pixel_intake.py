"""A picture is decoded once in its life, and nothing that happens to the store changes a pixel."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.data.stored import (
    OLD_NS,
    SLOT,
    SPEC,
    age,
    expected,
    index_of,
    pixels,
    run,
    same_records,
    stored_files,
    usable,
    write_picture,
    write_pictures,
)

from opsin.core.isolated import IsolatedWorker
from opsin.core.preprocess import PreprocessSpec
from opsin.data import pixel_intake, pixel_key, pixel_recall
from opsin.data.intake import pixel_store, take_in

COUNT = 10
pytestmark = pytest.mark.usefixtures("scan_here")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "photos", COUNT)


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The source ids that are scanned from here on."""
    seen: list[str] = []
    original = pixel_intake.look_at

    def watched(files: Any, *given: Any, **named: Any) -> None:
        seen.extend(source_id for source_id, _ in files)
        original(files, *given, **named)

    monkeypatch.setattr(pixel_intake, "look_at", watched)
    return seen


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are hashed from here on."""
    seen: list[str] = []
    original = pixel_recall.sha256_file

    def sha256_file(path: Path) -> str:
        seen.append(path.name)
        return original(path)

    monkeypatch.setattr(pixel_recall, "sha256_file", sha256_file)
    return seen


def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: IsolatedWorker) -> None:
        raise AssertionError("a child process was started")

    monkeypatch.setattr(IsolatedWorker, "start", start)


@pytest.mark.parametrize("name", ["pizza_steak_sushi/test", "odd_images"])
def test_the_second_run_decodes_nothing_and_is_the_same(
    shared_data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Of real photos, and of files with everything that may be wrong with a picture."""
    folder = shared_data / name
    without, first = run(folder, None), run(folder, cache)
    no_child(monkeypatch)
    second = run(folder, cache)
    assert first[0].notes == second[0].notes == []
    assert first[1] == second[1] == without[1], "records and findings"
    assert second[0].kept == len(usable(second[1])) > 50
    for store in (first, second):
        assert np.array_equal(pixels(store), pixels(without))


def test_pixels_are_those_of_pillow_and_the_spec(photos: Path, cache: Path) -> None:
    for _ in range(2):
        store, _ = run(photos, cache)
        assert np.array_equal(store.gather(range(COUNT)), expected(photos))
        rows = [7, 2, 2, 9]
        assert np.array_equal(store.gather(rows), expected(photos)[rows])
        assert np.array_equal(store[3], expected(photos)[3])
        batch = store.gather(rows)
        batch[:] = 0
        assert np.array_equal(store.gather(rows), expected(photos)[rows]), "a copy of one's own"


def test_only_what_is_new_is_scanned(photos: Path, cache: Path, scanned: list[str]) -> None:
    run(photos, cache)
    del scanned[:]
    write_picture(photos / "new.png", np.random.default_rng(9))
    store, _ = run(photos, cache)
    assert scanned == ["new.png"]
    assert np.array_equal(store.gather(range(COUNT + 1)), expected(photos))
    del scanned[:]
    run(photos, cache)
    assert not scanned


def test_a_moved_folder_is_known_by_its_content(
    photos: Path, cache: Path, scanned: list[str], hashed: list[str]
) -> None:
    _, first = run(photos, cache)
    assert not hashed
    del scanned[:]
    moved = photos.rename(photos.with_name("elsewhere"))
    store, second = run(moved, cache)
    assert (scanned, len(hashed)) == ([], COUNT)
    assert same_records(first, second)
    assert np.array_equal(store.gather(range(COUNT)), expected(moved))
    del hashed[:]
    store, third = run(moved, cache)
    assert (scanned, hashed) == ([], []), "its new names were noted"
    assert third == second
    assert np.array_equal(store.gather(range(COUNT)), expected(moved))


def test_a_changed_picture_is_noticed(photos: Path, cache: Path, scanned: list[str]) -> None:
    path = photos / "0003.png"
    image = np.asarray(Image.open(path)).copy()
    Image.fromarray(image).save(path, compress_level=0)
    age(path)
    size = path.stat().st_size
    run(photos, cache)
    del scanned[:]
    image[5, 5] ^= 255
    Image.fromarray(image).save(path, compress_level=0)
    age(path, 1)
    assert path.stat().st_size == size
    store, _ = run(photos, cache)
    assert scanned == ["0003.png"]
    assert np.array_equal(store[3], expected(photos)[3])


def test_a_touched_picture_is_only_hashed(
    photos: Path, cache: Path, scanned: list[str], hashed: list[str]
) -> None:
    run(photos, cache)
    del scanned[:]
    age(photos / "0003.png", 1)
    _, intake = run(photos, cache)
    assert (scanned, hashed) == ([], ["0003.png"])
    assert intake.records[3].mtime_ns == OLD_NS + 1


def test_same_path_size_and_time_is_trusted(
    photos: Path, cache: Path, scanned: list[str], hashed: list[str]
) -> None:
    """Documented: such a change is not noticed."""
    before = expected(photos)
    run(photos, cache)
    del scanned[:]
    path = photos / "0003.png"
    path.write_bytes(b"x" * path.stat().st_size)
    age(path)
    store, _ = run(photos, cache)
    assert (scanned, hashed) == ([], [])
    assert np.array_equal(store[3], before[3])


def test_a_file_of_this_moment_is_not_trusted_by_its_time(
    photos: Path, cache: Path, scanned: list[str], hashed: list[str]
) -> None:
    """Another change might leave it the same time."""
    path = photos / "0003.png"
    path.touch()
    run(photos, cache)
    del scanned[:]
    run(photos, cache)
    assert (scanned, hashed) == ([], ["0003.png"])


def test_what_is_said_of_a_name_follows_the_name(
    photos: Path, cache: Path, scanned: list[str]
) -> None:
    run(photos, cache)
    del scanned[:]
    for name in ("copy.jpg", "copy.PNG", "plain"):
        shutil.copy2(photos / "0001.png", photos / name)
    _, known = run(photos, cache)
    assert not scanned
    _, fresh = run(photos, None)
    assert known == fresh
    notes = {record.source_id: [str(n) for n in record.notes] for record in known.records}
    assert notes["copy.jpg"] == ["extension_mismatch: looks like PNG"]
    assert notes["copy.PNG"] == notes["0001.png"] == []


def test_a_store_of_other_decoders_or_another_spec_is_not_touched(
    photos: Path, cache: Path, scanned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(photos, cache)
    other = PreprocessSpec(size_px=(24, 32), resize="pad")
    store, _ = run(photos, cache, spec=other)
    assert np.array_equal(store.gather(range(COUNT)), expected(photos, other))
    monkeypatch.setattr(pixel_key, "_decoders", lambda: (("pillow", "1.0"),))
    run(photos, cache)
    assert len(scanned) == 3 * COUNT
    assert len(stored_files(cache)) == len(list(cache.glob("pixels/*"))) == 3


def test_passing_faults_are_not_remembered(photos: Path, cache: Path, scanned: list[str]) -> None:
    (photos / "bad.png").write_bytes(b"")
    age(photos / "bad.png")
    index = index_of(photos)
    (photos / "0000.png").rename(photos / "0000.away")
    for found in ("missing_file", None):
        store = pixel_store(index, SPEC, budget_bytes=0, cache=cache)
        intake = take_in(index, store=store, workers=1)
        assert intake.records[0].error == found
        assert intake.records[-1].error == "empty_file"
        if found:
            (photos / "0000.away").rename(photos / "0000.png")
            del scanned[:]
    assert scanned == ["0000.png"]


def test_all_shapes_are_stored_alike(tmp_path: Path, cache: Path) -> None:
    shapes = [(8, 3000), (3000, 8), (9, 9), (700, 1100), (24, 32), (8, 8)]
    draws = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number, (tall, wide) in enumerate([*shapes, (50, 1), (1, 50), (1, 1)]):
        image = draws.integers(0, 256, (tall, wide, 3), np.uint8)
        name = "good" if number < len(shapes) else "thin"
        suffix = "png" if name == "good" else "bmp"
        path = tmp_path / "photos" / f"{name}{number}.{suffix}"
        Image.fromarray(image).save(path)
        age(path)
    for _ in range(2):
        store, intake = run(tmp_path / "photos", cache)
        errors = [record.error for record in intake.records]
        assert errors == [None] * len(shapes) + ["too_small"] * 3
        assert np.array_equal(store.gather(range(6)), expected(tmp_path / "photos"))


def test_names_that_are_not_utf8(photos: Path, cache: Path, scanned: list[str]) -> None:
    raw = os.fsencode(photos) + b"/bad\xff\n \"'.png"
    (photos / "0003.png").rename(os.fsdecode(raw))
    _, first = run(photos, cache)
    del scanned[:]
    store, second = run(photos, cache)
    assert (scanned, second) == ([], first)
    assert np.array_equal(store.gather(range(COUNT)), expected(photos))


def test_without_writing_nothing_is_left(photos: Path, cache: Path) -> None:
    store, _ = run(photos, cache, write=False)
    assert np.array_equal(store.gather(range(COUNT)), expected(photos))
    assert not cache.exists()
    assert not store.notes


def test_progress_counts_every_file_once(photos: Path, cache: Path) -> None:
    (photos / "bad.png").write_bytes(b"")
    age(photos / "bad.png")
    run(photos, cache)
    for name in ("new1.png", "new2.png"):
        write_picture(photos / name, np.random.default_rng(9))
    index, steps = index_of(photos), []
    store = pixel_store(index, SPEC, budget_bytes=0, cache=cache)
    take_in(index, store=store, workers=1, on_file=lambda done, total: steps.append((done, total)))
    total = COUNT + 3
    assert steps[:COUNT] == [(number, total) for number in range(1, COUNT + 1)]
    assert steps[COUNT:] == [(total - 1, total), (total, total)]


def test_a_scan_that_is_broken_off_keeps_what_it_decoded(
    photos: Path, cache: Path, scanned: list[str]
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    index = index_of(photos)
    store = pixel_store(index, SPEC, budget_bytes=0, cache=cache)
    with pytest.raises(KeyboardInterrupt):
        take_in(index, store=store, workers=1, on_file=stop)
    del scanned[:]
    store, _ = run(photos, cache)
    assert len(scanned) == COUNT - 6
    assert np.array_equal(store.gather(range(COUNT)), expected(photos))


def test_a_picture_that_is_there_twice(photos: Path, cache: Path, scanned: list[str]) -> None:
    shutil.copy2(photos / "0001.png", photos / "twin.png")
    run(photos, cache)
    del scanned[:]
    store, intake = run(photos.rename(photos.with_name("moved")), cache)
    assert not scanned
    assert np.array_equal(store[1], store[COUNT])
    assert intake.records[1].pixel_sha256 == intake.records[COUNT].pixel_sha256


def test_the_size_is_that_of_the_pixels(photos: Path, cache: Path) -> None:
    store, _ = run(photos, cache)
    assert store.size_bytes == COUNT * SLOT
    assert len(store) == COUNT
    (file,) = stored_files(cache)
    assert store.size_bytes < file.stat().st_size < store.size_bytes + COUNT * 1000 + 100


def test_times_that_no_64_bits_hold(photos: Path, cache: Path, scanned: list[str]) -> None:
    """A camera without a battery, or `touch -d 2400-01-01`."""
    far = 13_569_465_600 * 10**9
    os.utime(photos / "0003.png", ns=(far, far))
    first = run(photos, cache)
    assert first[1].records[3].mtime_ns == 2**63 - 1
    scanned.clear()
    assert same_records(first[1], run(photos, cache)[1])
    assert scanned in ([], ["0003.png"])
