"""One pass over every file: in order, complete, and alive at the end whatever the files do."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from opsin.core.isolated import WorkerFault
from opsin.core.preprocess import PreprocessSpec
from opsin.data.decode import Limits, decode_file
from opsin.data.record import FileRecord
from opsin.data.scan import scan

Encode = Callable[..., bytes]
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _targets_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


@pytest.fixture
def folder(tmp_path: Path, encode: Encode) -> Path:
    """Two good files that show the same picture, one rotated JPEG, and three bad ones."""
    exif = Image.Exif()
    exif[0x0112] = 6
    contents = {
        "a.png": encode("PNG"),
        "b.jpg": encode("BMP"),
        "c.jpg": encode("JPEG", exif=exif),
        "d.png": b"",
        "e.png": encode("PNG")[:60],
        "f.png": b"<html>",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def files_of(folder: Path) -> list[tuple[str, Path]]:
    return [(path.name, path) for path in sorted(folder.iterdir())]


def children() -> set[str]:
    """The process ids of our children, as the system knows them."""
    folder = Path(f"/proc/{os.getpid()}/task")
    pids: set[str] = set()
    for task in folder.iterdir():
        with contextlib.suppress(OSError):  # threads end while we look
            pids |= set((task / "children").read_text().split())
    return {pid for pid in pids if alive(pid)}


def alive(pid: str) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("workers", [1, 2])
def test_records_come_complete_and_in_order(folder: Path, workers: int) -> None:
    records = scan(files_of(folder), workers=workers)
    assert [record.source_id for record in records] == [name for name, _ in files_of(folder)]
    errors = [record.error for record in records]
    assert errors == [None, None, None, "empty_file", "truncated", "unsupported_format"]
    for record in records:
        data = record.path.read_bytes()
        assert record.size_bytes == len(data)
        assert record.mtime_ns == record.path.stat().st_mtime_ns
        assert record.sha256 == hashlib.sha256(data).hexdigest()
        assert bool(record.pixel_sha256) == (record.error is None)
    a, b, c = records[:3]
    assert (a.width_px, a.height_px, a.format, a.mode, a.notes) == (56, 40, "PNG", "RGB", ())
    assert (c.width_px, c.height_px) == (40, 56), "sizes are as seen"
    assert [note.code for note in b.notes] == ["extension_mismatch"]
    assert [note.code for note in c.notes] == ["rotated"]
    assert "60 bytes present" in records[4].error_message


def test_the_same_pixels_are_known_whatever_the_container(folder: Path) -> None:
    a, b, c = scan(files_of(folder)[:3])
    assert a.sha256 != b.sha256
    assert a.pixel_sha256 == b.pixel_sha256 != c.pixel_sha256


def test_pixels_are_prepared_in_the_same_pass(folder: Path) -> None:
    spec = PreprocessSpec(size_px=(24, 32), resize="crop", crop_frac=0.875)
    found: dict[int, NDArray[np.uint8]] = {}
    callers = set()

    def keep(index: int, image: NDArray[np.uint8]) -> None:
        callers.add(threading.get_ident())
        found[index] = image

    scan(files_of(folder), spec=spec, on_pixels=keep)
    assert sorted(found) == [0, 1, 2]
    assert callers == {threading.get_ident()}
    for index, image in found.items():
        assert np.array_equal(image, spec.prepare(decode_file(files_of(folder)[index][1]).image))


def test_progress_counts_every_file_once(folder: Path) -> None:
    steps: list[tuple[int, int]] = []
    scan(files_of(folder), progress=lambda done, total: steps.append((done, total)))
    assert steps == [(number, 6) for number in range(1, 7)]


def test_nothing_to_scan() -> None:
    assert scan([]) == []


def test_limits_reach_the_worker(folder: Path) -> None:
    records = scan(files_of(folder)[:1], limits=Limits(max_pixels=1000))
    assert records[0].error == "too_many_pixels"


def test_a_crash_or_a_hang_costs_one_file_only(tmp_path: Path, encode: Encode) -> None:
    good = encode("PNG")
    names = ["0.png", "1-segv.png", "2.png", "3-hang.png", "4-abort.png", "5-raise.png", "6.png"]
    for name in names:
        (tmp_path / name).write_bytes(good)
    records = scan(files_of(tmp_path), target="scan_targets:fragile", timeout_s=1.0)
    assert [record.source_id for record in records] == names
    for record in records:
        if "-" not in record.source_id:
            assert record.error is None
            continue
        assert record.error == "decoder_failed"
        assert record.sha256 == hashlib.sha256(good).hexdigest()
        assert record.size_bytes == len(good)
    messages = [record.error_message for record in records]
    assert "SIGSEGV" in messages[1]
    assert "within 4 s" in messages[3]
    assert "SIGABRT" in messages[4]
    assert "MemoryError" in messages[5]


def test_what_was_only_slow_gets_a_second_chance(tmp_path: Path, encode: Encode) -> None:
    (tmp_path / "slow.png").write_bytes(encode("PNG"))
    (record,) = scan(files_of(tmp_path), target="scan_targets:fragile", timeout_s=1.0)
    assert record.error is None


def test_many_that_hang_do_not_get_many_second_chances(tmp_path: Path, encode: Encode) -> None:
    for number in range(8):
        (tmp_path / f"{number}-hang.png").write_bytes(encode("PNG"))
    records = scan(files_of(tmp_path), target="scan_targets:fragile", timeout_s=0.1)
    messages = sorted(record.error_message for record in records)
    assert sum("within 0.4 s" in message for message in messages) in (3, 4)
    assert {record.error for record in records} == {"decoder_failed"}


def test_a_worker_that_cannot_start_is_no_fault_of_the_files(folder: Path) -> None:
    with pytest.raises(WorkerFault, match="cannot start"):
        scan(files_of(folder), target="scan_targets:unable")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for children in /proc")
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_a_callback_raises_ends_the_scan_and_its_processes(
    folder: Path, error: type[BaseException]
) -> None:
    threads, processes = threading.active_count(), children()

    def fail(done: int, total: int) -> None:
        assert children() != processes, "while scanning there are workers"
        raise error

    with pytest.raises(error):
        scan(files_of(folder) * 20, progress=fail)
    assert threading.active_count() == threads
    assert children() == processes


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    files = [("gone", tmp_path / "gone.png"), ("folder", tmp_path / "folder.png")]
    gone, directory = scan(files)
    assert (gone.error, gone.size_bytes, gone.sha256) == ("missing_file", 0, "")
    assert directory.error == "read_failed"


def test_strange_names_survive_the_pipe_and_json(tmp_path: Path, encode: Encode) -> None:
    names = [b"a\nb.png", b"\xff\xfe.png", "🐈 & <b>.png".encode(), b"x" * 251 + b".png"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(encode("PNG"))
    files = files_of(tmp_path)
    records = scan(files)
    assert [(record.source_id, record.path, record.error) for record in records] == [
        (name, path, None) for name, path in files
    ]
    for record in records:
        assert FileRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_records_cannot_be_changed() -> None:
    record = FileRecord("a", Path("a"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.error = "x"  # type: ignore[misc]
