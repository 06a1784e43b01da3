"""What may happen to a cache folder: damage, kills, crowds, no room, no leave to write."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.data.stored import (
    SLOT,
    expected,
    run,
    stored_files,
    write_pictures,
)

from opsin.data import pixel_folder, pixel_intake
from opsin.data.decode import Undecodable
from opsin.data.pixel_file import Entry, PixelFile
from opsin.data.pixel_folder import LEFT_AFTER_S, PixelFolder
from opsin.data.pixel_writer import PixelWriter

COUNT = 10
pytestmark = pytest.mark.usefixtures("scan_here")


REPO = Path(__file__).parents[2]
needs_root = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() != 0, reason="only root may mount"
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    return write_pictures(tmp_path_factory.mktemp("faults") / "photos", COUNT)


def right(photos: Path, store: object) -> bool:
    return np.array_equal(store.gather(range(len(store))), expected(photos))  # type: ignore[attr-defined, arg-type]


@pytest.mark.parametrize("place", ["slot", "index"])
def test_a_damaged_file_is_replaced(photos: Path, cache: Path, place: str) -> None:
    run(photos, cache)
    (path,) = stored_files(cache)
    damaged = bytearray(path.read_bytes())
    damaged[100 if place == "slot" else -100] ^= 4
    path.write_bytes(damaged)
    store, _ = run(photos, cache)
    assert store.notes == ["the pixel store was damaged: 10 pictures are decoded again"]
    assert right(photos, store)
    assert not path.exists()
    store, _ = run(photos, cache)
    assert store.notes == []
    assert right(photos, store)


def test_the_whole_files_beside_a_damaged_one_are_used(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_pictures(tmp_path / "photos", COUNT)
    monkeypatch.setattr(pixel_intake, "PART_S", 0.0)
    monkeypatch.setattr(pixel_intake, "PART_FRAC", 0.0)
    run(photos, cache)
    monkeypatch.undo()
    files = stored_files(cache)
    assert len(files) == COUNT
    files[3].write_bytes(b"")
    store, _ = run(photos, cache)
    assert store.notes == ["the pixel store was damaged: 1 picture is decoded again"]
    assert right(photos, store)
    monkeypatch.setattr(pixel_folder, "MAX_FILES", 4)
    for _ in range(2):
        store, _ = run(photos, cache)
        assert right(photos, store)
        assert (store.notes, len(stored_files(cache))) == ([], 3)


RUN = """
import sys
from pathlib import Path
from tests.data.stored import pixels, run
from opsin.data import pixel_intake
import hashlib
pixel_intake.PART_S = float(sys.argv[3])
pixel_intake.PART_FRAC = 0.0
print("ready", flush=True)
sys.stdin.readline()
print(hashlib.sha256(pixels(run(Path(sys.argv[1]), Path(sys.argv[2])))).hexdigest())
"""


def child(photos: Path, cache: Path, part_s: float = 30.0) -> subprocess.Popen[str]:
    made = subprocess.Popen(
        [sys.executable, "-c", RUN, str(photos), str(cache), str(part_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPO,
        env=os.environ | {"PYTHONPATH": str(REPO)},
    )
    assert made.stdout is not None
    assert made.stdout.readline() == "ready\n"
    return made


def test_a_killed_writer_leaves_what_it_had_finished(tmp_path: Path, cache: Path) -> None:
    photos = write_pictures(tmp_path / "photos", 300, side=200)
    with child(photos, cache, part_s=0.1) as writer:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(0.01)
            writer.send_signal(signal.SIGSTOP)
            time.sleep(0.01)
            if len(stored_files(cache)) >= 2 and list(cache.glob("pixels/*/.*.tmp")):
                break
            writer.send_signal(signal.SIGCONT)
        writer.kill()
    finished = len(stored_files(cache))
    left = list(cache.glob("pixels/*/.*.tmp"))
    assert finished >= 2
    assert len(left) == 1, "it was killed in the middle of a file"
    half = left[0].read_bytes()
    store, _ = run(photos, cache)
    assert store.notes == []
    assert right(photos, store)
    assert len(stored_files(cache)) == finished + 1, "what it had finished was not written again"
    assert left[0].read_bytes() == half, "it might still be writing"
    long_ago = time.time() - 2 * LEFT_AFTER_S
    os.utime(left[0], (long_ago, long_ago))
    foreign = left[0].with_name(".somebody.tmp")
    foreign.touch()
    os.utime(foreign, (long_ago, long_ago))
    run(photos, cache)
    assert not left[0].exists()
    assert foreign.exists()


def test_eight_writers_at_once(photos: Path, cache: Path) -> None:
    children = [child(photos, cache) for _ in range(8)]
    found = {one.communicate("\n")[0] for one in [_started(one) for one in children]}
    assert found == {hashlib.sha256(expected(photos)).hexdigest() + "\n"}
    assert [one.returncode for one in children] == [0] * 8
    assert not list(cache.glob("pixels/*/.*"))
    store, _ = run(photos, cache)
    assert (store.notes, store.kept) == ([], COUNT)
    assert right(photos, store)


def _started(one: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert one.stdin is not None
    one.stdin.write("\n")
    one.stdin.flush()
    return one


def test_deleted_while_it_is_in_use(photos: Path, cache: Path) -> None:
    run(photos, cache)
    store, _ = run(photos, cache)
    text = pickle.dumps(store)
    for path in stored_files(cache):
        path.unlink()
    assert right(photos, store), "the descriptor is still open"
    assert right(photos, pickle.loads(text)), "decoded again"
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(write, hashlib.sha256(store.gather(range(COUNT))).digest())
        os._exit(0)
    assert os.read(read, 32) == hashlib.sha256(expected(photos)).digest()
    os.waitpid(pid, 0)
    os.close(read)
    os.close(write)
    again, _ = run(photos, cache)
    assert (again.notes, right(photos, again)) == ([], True)


def test_pickled_it_reads_the_same_files(photos: Path, cache: Path) -> None:
    store, _ = run(photos, cache)
    text = pickle.dumps(store)
    assert len(text) < COUNT * SLOT / 2, "the pixels do not travel"
    assert right(photos, pickle.loads(text))


def test_forked_readers_do_not_disturb_each_other(photos: Path, cache: Path) -> None:
    store, _ = run(photos, cache)
    wanted = expected(photos)
    pids = []
    for number in range(4):
        pid = os.fork()
        if not pid:
            rows = np.random.default_rng(number).integers(0, COUNT, (200, 8))
            same = all(np.array_equal(store.gather(r.tolist()), wanted[r]) for r in rows)
            os._exit(0 if same else 1)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for some pictures."""
    place = tmp_path / "small"
    place.mkdir()
    made = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(place)]
    if subprocess.run(made, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let us mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@needs_root
def test_a_disk_that_fills_up(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_folder, "DISK_FRAC", 1e6)
    photos = write_pictures(tmp_path / "photos", 60)
    store, _ = run(photos, small_disk)
    note = f"not every picture is kept for later runs in {small_disk}: the disk is full"
    assert store.notes == [note]
    assert store.kept == 60, "the rest is in memory"
    assert right(photos, store)
    (file,) = stored_files(small_disk)
    assert 20 * SLOT < file.stat().st_size < 96 * 1024
    assert not list(small_disk.glob("pixels/*/.*"))
    store, _ = run(photos, small_disk, budget_bytes=0)
    assert 20 <= store.kept < 60
    assert right(photos, store)
    assert store.notes[0].startswith(note + f"; {60 - store.kept} of 60 pictures (")


@needs_root
def test_a_folder_that_may_only_be_read(tmp_path: Path, photos: Path, small_disk: Path) -> None:
    run(photos, small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    store, _ = run(photos, small_disk)
    assert (store.notes, right(photos, store)) == ([], True), "it is read all the same"
    more = write_pictures(tmp_path / "more", COUNT, seed=1)
    store, _ = run(more, small_disk)
    assert store.notes == [
        f"not every picture is kept for later runs in {small_disk}: Read-only file system"
    ]
    assert store.kept == COUNT
    assert right(more, store)


@needs_root
def test_a_disk_without_any_room(photos: Path, small_disk: Path) -> None:
    with (small_disk / "other").open("wb") as file:
        file.write(bytes(os.statvfs(small_disk).f_bavail * 4096))
    store, _ = run(photos, small_disk)
    assert (len(store.notes), store.kept, right(photos, store)) == (1, COUNT, True)
    assert not stored_files(small_disk)
    assert not list(small_disk.glob("pixels/*/.*"))


def test_a_cache_folder_that_is_a_file(photos: Path, cache: Path) -> None:
    cache.write_text("mine")
    store, _ = run(photos, cache)
    assert store.notes == [f"not every picture is kept for later runs in {cache}: Not a directory"]
    assert (store.kept, right(photos, store)) == (COUNT, True)
    assert cache.read_text() == "mine"


def test_beyond_its_share_of_the_disk(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_folder, "disk_free", lambda folder: 2 * 4 * (SLOT + 1024))
    store, _ = run(photos, cache, budget_bytes=3 * SLOT)
    assert store.kept == 4 + 3
    assert right(photos, store)
    (note,) = store.notes
    assert "its share of the disk is taken" in note
    assert "3 of 10 pictures (6.9 kB) find no room and are decoded again each time" in note
    size = stored_files(cache)[0].stat().st_size
    again, _ = run(photos, cache, budget_bytes=0)
    assert again.kept <= 4 + size // (2 * SLOT), "its share does not grow with what it takes"


def test_in_memory_what_fits_without_a_cache(photos: Path) -> None:
    store, _ = run(photos, None, budget_bytes=3 * SLOT + 1)
    assert store.kept == 3
    assert right(photos, store)
    assert store.notes == [
        "7 of 10 pictures (16.1 kB) find no room and are decoded again each time"
    ]
    store, _ = run(photos, None)
    assert (store.notes, store.kept) == ([], COUNT)


def test_a_streamed_picture_that_is_gone(tmp_path: Path) -> None:
    photos = write_pictures(tmp_path / "photos", 3)
    store, _ = run(photos, None, budget_bytes=0)
    (photos / "0001.png").unlink()
    with pytest.raises(Undecodable, match="missing_file"):
        store.gather([0, 1])


def test_a_disk_that_is_full_when_the_index_is_written(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last pictures make room for the index of the others, and are not lost."""
    original, fails = PixelWriter._publish, [2]

    def publish(self: PixelWriter) -> None:
        if fails[0]:
            fails[0] -= 1
            raise OSError(28, "No space left on device")
        original(self)

    monkeypatch.setattr(PixelWriter, "_publish", publish)
    store, _ = run(photos, cache)
    assert store.kept == COUNT
    assert right(photos, store)
    assert 0 < stored_files(cache)[0].stat().st_size < (COUNT - 1) * SLOT
    assert store.notes[0].endswith("the disk is full")
    monkeypatch.undo()
    assert right(photos, run(photos, cache)[0])


def test_small_pictures_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that is larger than the pixels takes the room of some of them, not of all."""
    count, slot_bytes = 1500, 192
    original = PixelWriter._publish

    def publish(self: PixelWriter) -> None:
        if self.slots * slot_bytes + self._lines.size_bytes > count * slot_bytes:
            raise OSError(28, "No space left on device")
        original(self)

    monkeypatch.setattr(PixelWriter, "_publish", publish)
    writer = PixelWriter(tmp_path, slot_bytes)
    pixels = np.arange(slot_bytes, dtype=np.uint8)
    for number in range(count):
        entry = Entry(None, 0, f"/photos/{number}.png", 10, 10, "ab" * 32, {})
        writer.put(entry, np.roll(pixels, number))
    file, failure = writer.finish()
    line = len(entry.line())
    assert failure is None
    assert file.slots > 0.9 * count * slot_bytes / (slot_bytes + line)
    assert [slot for slot, _ in writer.dropped] == list(range(file.slots, count))
    assert [entry.slot for entry in PixelFile(file.path, slot_bytes).entries()] == list(
        range(file.slots)
    )
    for slot, dropped in writer.dropped:
        assert np.array_equal(dropped, np.roll(pixels, slot))


def test_links_and_foreign_files_in_the_folder(photos: Path, cache: Path, tmp_path: Path) -> None:
    run(photos, cache)
    (file,) = stored_files(cache)
    (file.parent / "mine.pixels").write_bytes(b"mine")
    (tmp_path / "outside").write_bytes(b"outside")
    (file.parent / ("0" * 16 + ".pixels")).symlink_to(tmp_path / "outside")
    (file.parent / ("1" * 16 + ".pixels")).mkdir()
    store, _ = run(photos, cache)
    assert (store.notes, right(photos, store)) == ([], True)
    assert len(list(file.parent.iterdir())) == 5
    assert (tmp_path / "outside").read_bytes() == b"outside"


def test_the_room_counts_what_other_specs_take(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = run(photos, cache)
    assert store.folder is not None
    taken = stored_files(cache)[0].stat().st_size
    monkeypatch.setattr(pixel_folder, "disk_free", lambda folder: 100_000_000)
    other = PixelFolder(cache, store.spec.model_copy(update={"resize": "pad"}))
    assert other.room() == (int((100_000_000 + taken) / 2) - taken) // (SLOT + 1024)
