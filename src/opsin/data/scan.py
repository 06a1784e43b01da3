"""`look_at`, `scan`: one pass over every file, in processes that a broken picture may crash."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsin.core.files import sha256_file, size_and_time
from opsin.core.isolated import IsolatedWorker, WorkerFault, WorkerLost, WorkerTimeout
from opsin.core.lazy_sequence import LazySequence
from opsin.core.preprocess import PreprocessSpec
from opsin.data.decode import MAX_FILE_BYTES, Limits, Note
from opsin.data.index import Rows
from opsin.data.record import FileRecord

Files = Sequence[tuple[str, Path]]
"""(source id, path)."""
Reply = tuple[dict[str, Any], bytes]
Look = tuple[FileRecord, NDArray[np.uint8] | None]


class Chosen(LazySequence[tuple[str, Path]]):
    """Those of `rows` at `positions`."""

    def __init__(self, rows: Rows, positions: Sequence[int] | NDArray[np.int32]) -> None:
        self._rows, self._positions = rows, positions

    def __len__(self) -> int:
        return len(self._positions)

    def item(self, at: int) -> tuple[str, Path]:
        row = self._rows[int(self._positions[at])]
        return row.source_id, row.path


TARGET = "opsin.data.scan_worker:factory"
LIMITS = Limits()
MEMORY_LIMIT_BYTES = 4 << 30


def scan(
    files: Files,
    *,
    spec: PreprocessSpec | None = None,
    on_pixels: Callable[[int, NDArray[np.uint8]], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
    limits: Limits = LIMITS,
    timeout_s: float = 5.0,
    target: str = TARGET,
) -> list[FileRecord]:
    """`look_at` each (source id, path); the records come in the order of `files`.

    Each readable picture is also given to `on_pixels(index, image)`, where there is a `spec`.
    `progress(done, total)` follows each file.
    """
    records: dict[int, FileRecord] = {}

    def on_look(index: int, record: FileRecord, image: NDArray[np.uint8] | None) -> None:
        records[index] = record
        if image is not None and on_pixels:
            on_pixels(index, image)
        if progress:
            progress(len(records), len(files))

    look_at(
        files,
        on_look,
        spec=spec,
        prepare=on_pixels is not None,
        workers=workers,
        limits=limits,
        timeout_s=timeout_s,
        target=target,
    )
    return [records[index] for index in range(len(files))]


def look_at(
    files: Files,
    on_look: Callable[[int, FileRecord, NDArray[np.uint8] | None], None],
    *,
    spec: PreprocessSpec | None = None,
    prepare: bool = False,
    workers: int = 2,
    limits: Limits = LIMITS,
    timeout_s: float = 5.0,
    target: str = TARGET,
) -> None:
    """Look at each (source id, path) once, and give `on_look(index, record, image)` what is found,
    in any order.

    `spec` is what pictures are decoded by; with `prepare`, `image` is the picture prepared by it,
    uint8 H W 3, read-only, where it could be read, else None. `on_look` is called in the caller's
    thread; what it raises ends the scan. A file whose decoding crashes, or takes longer than
    `timeout_s`, is `decoder_failed`, and the scan goes on; one that was too slow gets a second
    chance first, because a busy machine must not change what the data are.
    """
    if not files:
        return
    config = {
        "limits": asdict(limits),
        "spec": spec.model_dump(mode="json") if spec else None,
        "prepare": prepare,
        "memory_limit_bytes": MEMORY_LIMIT_BYTES,
        "quiet": True,  # libtiff prints a line for every oddity of a broken file
    }
    looks = _looks(files, max(1, min(workers, len(files))), target, config, timeout_s)
    with contextlib.closing(looks):
        for index, (record, image) in looks:
            on_look(index, record, image)


class _SecondChances:
    """For files that took too long: four times the time, until three files have wasted it."""

    def __init__(self) -> None:
        self.left = 3

    def call(self, worker: IsolatedWorker, path: Path, timeout_s: float) -> Reply:
        try:
            return worker.call({"path": str(path)}, timeout_s=timeout_s)
        except WorkerTimeout:
            if self.left <= 0:
                raise
        try:
            return worker.call({"path": str(path)}, timeout_s=4 * timeout_s)
        except WorkerTimeout:
            self.left -= 1
            raise


def _looks(
    files: Files, count: int, target: str, config: dict[str, Any], timeout_s: float
) -> Generator[tuple[int, Look]]:
    """(index, look) in the order of completion; closing it ends threads and processes."""
    todo = iter(range(len(files)))
    picking = threading.Lock()
    stop = threading.Event()
    chances = _SecondChances()
    # short, so that pictures do not pile up in memory before a slow `on_pixels`
    done: queue.Queue[tuple[int, Look] | BaseException] = queue.Queue(maxsize=2 * count)
    crew = [IsolatedWorker(target, config) for _ in range(count)]

    def hand_over(item: tuple[int, Look] | BaseException) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                done.put(item, timeout=0.1)
                return

    def work(worker: IsolatedWorker) -> None:
        try:
            while not stop.is_set():
                with picking:
                    index = next(todo, None)
                if index is None:
                    return
                hand_over((index, _look(worker, chances, *files[index], timeout_s)))
        except BaseException as error:  # raised again in the caller's thread
            hand_over(error)

    threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in crew]
    try:
        for thread in threads:
            thread.start()
        for _ in range(len(files)):
            item = done.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        for worker in crew:
            worker.close()
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def _look(
    worker: IsolatedWorker, chances: _SecondChances, source_id: str, path: Path, timeout_s: float
) -> Look:
    size_bytes, mtime_ns = _size_and_time(path)
    worker.start()  # a worker that cannot start is no fault of this file: let it be raised
    try:
        fields, pixels = chances.call(worker, path, timeout_s)
    except (WorkerLost, WorkerTimeout, WorkerFault) as error:
        fields, pixels = _failed(path, error), b""
    shape = fields.pop("shape", None)
    fields["notes"] = tuple(Note(**note) for note in fields.get("notes", ()))
    record = FileRecord(source_id, path, size_bytes, mtime_ns, **fields)
    return record, np.frombuffer(pixels, np.uint8).reshape(shape) if shape else None


def _failed(path: Path, error: WorkerLost | WorkerTimeout | WorkerFault) -> dict[str, Any]:
    fields = {"error": "decoder_failed", "error_message": error.message}
    with contextlib.suppress(OSError):
        if path.is_file() and path.stat().st_size <= MAX_FILE_BYTES:
            fields["sha256"] = sha256_file(path)  # reading bytes is safe, and finds copies of it
    return fields


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return size_and_time(status)
