"""A file of the pixel store: what was written is read, and no damage is taken for a picture."""

from __future__ import annotations

import hashlib
import os
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
from tests.data.stored import SLOT, SPEC, expected, index_of, run, stored_files, write_pictures

from opsin.data import pixel_file
from opsin.data.pixel_file import HEADER_BYTES, Damaged, Entry, PixelFile, header_of
from opsin.data.pixel_folder import PixelFolder
from opsin.data.pixel_recall import Recall
from opsin.data.pixel_writer import PixelWriter
from opsin.data.pixels import PixelStore

COUNT = 12


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(pictures, cache, file): twelve pictures and the file that holds them; read only."""
    folder = tmp_path_factory.mktemp("stored")
    run(write_pictures(folder / "photos", COUNT), folder / "cache")
    (file,) = stored_files(folder / "cache")
    return folder / "photos", folder / "cache", file


def recalled(photos: Path, cache: Path) -> tuple[int, list[Path]]:
    """How many pictures are taken from the store, and which files were found to be damaged."""
    rows = index_of(photos).rows
    store = PixelStore(rows.paths, SPEC, budget_bytes=0, cache=cache)
    assert store.folder
    recall = Recall(rows, store, store.folder)
    recall.check(lambda: None)
    assert np.count_nonzero(recall.records.known) == store.kept
    return store.kept, store.folder.damaged


@pytest.fixture
def copy(whole: tuple[Path, Path, Path], tmp_path: Path) -> tuple[Path, Path, bytes]:
    """(cache, file, its bytes): one that may be damaged."""
    file = tmp_path / whole[2].relative_to(whole[1])
    file.parent.mkdir(parents=True)
    file.write_bytes(whole[2].read_bytes())
    return tmp_path, file, whole[2].read_bytes()


def test_what_was_written_is_read(whole: tuple[Path, Path, Path]) -> None:
    photos, cache, path = whole
    assert recalled(photos, cache) == (COUNT, [])
    file = PixelFile(path, SLOT)
    entries = list(file.entries())
    assert sorted(entry.slot for entry in entries if entry.slot is not None) == list(range(COUNT))
    wanted = dict(zip(sorted(map(str, photos.iterdir())), expected(photos), strict=True))
    raw = path.read_bytes()
    for entry in entries:
        assert entry.slot is not None
        at = HEADER_BYTES + entry.slot * SLOT
        assert raw[at : at + SLOT] == wanted[entry.path].tobytes()
        assert entry.crc32 == zlib.crc32(wanted[entry.path].tobytes())
        assert entry.sha256 == hashlib.sha256(Path(entry.path).read_bytes()).hexdigest()
        assert file.entry(entry.where) == entry


def test_several_slots_at_once(whole: tuple[Path, Path, Path]) -> None:
    file = PixelFile(whole[2], SLOT)
    buffer = np.zeros(3 * SLOT, np.uint8)
    file.read_into(4, buffer.data)
    at = HEADER_BYTES + 4 * SLOT
    assert buffer.tobytes() == whole[2].read_bytes()[at : at + 3 * SLOT]


@pytest.mark.parametrize("part", ["header", "slot", "index", "trailer"])
def test_a_flipped_bit_is_seen_wherever_it_is(
    whole: tuple[Path, Path, Path], copy: tuple[Path, Path, bytes], part: str
) -> None:
    cache, path, data = copy
    index_at = HEADER_BYTES + COUNT * SLOT
    begin, end = {
        "header": (0, HEADER_BYTES),
        "slot": (HEADER_BYTES, index_at),
        "index": (index_at, len(data) - 32),
        "trailer": (len(data) - 32, len(data)),
    }[part]
    draws = np.random.default_rng(0)
    places = range(begin, end) if end - begin <= 64 else draws.integers(begin, end, 64)
    for at in places:
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(draws.integers(8))
        path.write_bytes(damaged)
        assert recalled(whole[0], cache) == (0, [path]), f"{part}, byte {at}"


def test_a_file_of_any_other_length_is_refused(
    whole: tuple[Path, Path, Path], copy: tuple[Path, Path, bytes]
) -> None:
    cache, path, data = copy
    for length in [0, 1, 39, 63, 64, 65, SLOT, *range(1000, len(data), 997), len(data) - 1]:
        path.write_bytes(data[:length])
        assert recalled(whole[0], cache) == (0, [path]), length
    path.write_bytes(data + b"\0")
    assert recalled(whole[0], cache) == (0, [path])


def test_a_file_of_another_version_is_refused_though_it_is_whole(
    copy: tuple[Path, Path, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path, data = copy
    index = data[HEADER_BYTES + COUNT * SLOT : -32]
    monkeypatch.setattr(pixel_file, "FORMAT_VERSION", 99)
    header = header_of(SLOT, COUNT, len(index))
    monkeypatch.undo()
    body = data[HEADER_BYTES:-32]
    path.write_bytes(header + body + hashlib.sha256(header + index).digest())
    with pytest.raises(Damaged, match="version 99"):
        PixelFile(path, SLOT)
    path.write_bytes(data)
    with pytest.raises(Damaged, match="another size"):
        PixelFile(path, SLOT + 1)


def test_an_index_that_nobody_can_read_is_damage(tmp_path: Path) -> None:
    """Whole by its sum, but written by something else."""
    for index in (b"[]\n", b"{}\n", b"no json\n", b'{"slot":5}\n', b"{"):
        header = header_of(4, 0, len(index))
        path = tmp_path / "x.pixels"
        path.write_bytes(header + index + hashlib.sha256(header + index).digest())
        file = PixelFile(path, 4)
        with pytest.raises(Damaged):
            list(file.entries())


def test_a_cut_file_is_an_error_and_no_crash(copy: tuple[Path, Path, bytes]) -> None:
    """Mapped, it would end the process by SIGBUS."""
    _, path, _ = copy
    file = PixelFile(path, SLOT)
    os.truncate(path, HEADER_BYTES + SLOT + 10)
    buffer = np.zeros(SLOT, np.uint8)
    file.read_into(0, buffer.data)
    with pytest.raises(OSError, match="cut short"):
        file.read_into(1, buffer.data)


def test_pickled_it_is_opened_again(copy: tuple[Path, Path, bytes]) -> None:
    _, path, data = copy
    text = pickle.dumps(PixelFile(path, SLOT))
    assert len(text) < 1000
    buffer = np.zeros(SLOT, np.uint8)
    pickle.loads(text).read_into(2, buffer.data)
    at = HEADER_BYTES + 2 * SLOT
    assert buffer.tobytes() == data[at : at + SLOT]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        pickle.loads(text).read_into(2, buffer.data)


def test_without_preadv_the_same_bytes(
    whole: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.delattr(os, "preadv")
    assert recalled(whole[0], whole[1]) == (COUNT, [])


def test_nothing_is_seen_before_it_is_whole(tmp_path: Path) -> None:
    folder = PixelFolder(tmp_path, SPEC)
    writer = folder.writer()
    entry = Entry(None, 0, "a", 1, 1, "0" * 64, {})
    writer.put(entry, np.zeros(SLOT, np.uint8))
    assert not stored_files(tmp_path)
    file, failure = writer.finish()
    assert (failure, stored_files(tmp_path)) == (None, [file.path])
    assert sorted(path.name for path in folder.path.iterdir()) == [file.path.name, "spec.json"]


def test_a_writer_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    writer = PixelWriter(tmp_path, SLOT)
    writer.put(Entry(None, 0, "a", 1, 1, "0" * 64, {}), np.zeros(SLOT, np.uint8))
    writer.discard()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_goes_away_costs_only_the_later_runs(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    writer = PixelWriter(folder, SLOT)
    writer.put(Entry(None, 0, "a", 1, 1, "0" * 64, {}), np.full(SLOT, 9, np.uint8))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    file, failure = writer.finish()
    assert isinstance(failure, FileNotFoundError)
    buffer = np.zeros(SLOT, np.uint8)
    file.read_into(0, buffer.data)
    assert (buffer == 9).all()
