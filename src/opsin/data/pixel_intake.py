"""One look at every file, with the pixel store: what it knows is recalled, the rest is scanned."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from opsin.core.allocator import trim
from opsin.core.words import plural, size
from opsin.data.index import Rows
from opsin.data.pixel_file import Entry
from opsin.data.pixel_folder import PixelFolder
from opsin.data.pixel_recall import Recall
from opsin.data.pixel_writer import FULL, PixelWriter
from opsin.data.pixels import PixelStore
from opsin.data.record import FileRecord, Records
from opsin.data.scan import Chosen, look_at

PASSING = {"permission_denied", "missing_file", "read_failed", "decoder_failed", "file_too_large"}
"""Faults that are not remembered: they may be gone, or be no fault of the file, the next time."""
SETTLED_NS = 2_000_000_000
"""A file is trusted by its time only when that is older: file systems count time in steps of up to
two seconds, and a second change within one would go by unseen."""
PART_S, PART_FRAC = 30.0, 0.1
"""A part is finished after so many seconds, or after this share of the time so far where that is
longer: a run that is killed loses no more of its decoding."""


def fill(
    store: PixelStore,
    rows: Rows,
    *,
    workers: int = 2,
    on_file: Callable[[int, int], None] | None = None,
    write: bool = True,
) -> Records:
    """The record of each row, its picture in `store` as far as there is room.

    `on_file(done, total)` follows each file. Without `write` nothing is left for later runs, nor
    removed. Whatever is wrong with the cache folder costs time and nothing else; `store.notes` says
    so.
    """
    done = 0

    def on_row() -> None:
        nonlocal done
        done += 1
        if on_file:
            on_file(done, len(rows))

    folder = store.folder
    records, renamed = _recalled(rows, store, folder, on_row) if folder else (Records(rows), [])
    missing = records.missing
    done = len(rows) - len(missing)
    if folder and folder.damaged and len(missing):
        store.notes.append(
            f"the pixel store was damaged: {plural(len(missing), 'picture')} "
            f"{'is' if len(missing) == 1 else 'are'} decoded again"
        )
    if folder and write:
        folder.tidy()
    keeper = _Keeper(store, folder if write else None)
    if len(missing):

        def on_look(at: int, record: FileRecord, prepared: NDArray[np.uint8] | None) -> None:
            number = int(missing[at])
            records[number] = record
            keeper.keep(number, record, prepared)
            on_row()

        try:
            look_at(Chosen(rows, missing), on_look, spec=store.spec, prepare=True, workers=workers)
        except BaseException:
            keeper.finish()  # what was decoded until then need not be decoded again
            raise
    keeper.note_names(records[row] for row in renamed)
    keeper.finish()
    keeper.explain(len(records.usable))
    return records


def _recalled(
    rows: Rows, store: PixelStore, folder: PixelFolder, on_row: Callable[[], None]
) -> tuple[Records, list[int]]:
    """What the store knows, and the rows that it knew under another name."""
    recall = Recall(rows, store, folder)
    recall.check(on_row)
    found = recall.records, recall.renamed
    del recall
    trim()  # before processes are begun that decode the rest
    return found


class _Keeper:
    """Puts pictures into files of `folder` while there is room, then into memory."""

    def __init__(self, store: PixelStore, folder: PixelFolder | None) -> None:
        self._store = store
        self._folder = folder
        self._room: int | None = None
        self._reason = ""
        self._writer: PixelWriter | None = None
        self._rows = array("q")
        self._begun = self._part = time.monotonic()

    def keep(self, row: int, record: FileRecord, prepared: NDArray[np.uint8] | None) -> None:
        """Keep a record and its picture, uint8 H W 3."""
        if prepared is None:
            if record.error and record.error not in PASSING:
                self._write(_entry(record))
            return
        pixels = np.ascontiguousarray(prepared.transpose(2, 0, 1))
        if not self._fits() or not self._write(_entry(record), row, pixels):
            self._store.put_chw(row, pixels)
        now = time.monotonic()
        if now - self._part > max(PART_S, PART_FRAC * (now - self._begun)):
            self.finish()

    def note_names(self, records: Iterable[FileRecord]) -> None:
        """Note further names and times of pictures that are stored, that they need no hashing the
        next time.
        """
        reason = self._reason
        for record in records:
            entry = _entry(record)
            if entry.mtime_ns is not None:
                self._write(entry)
        self._reason = reason  # that this could not be noted is not worth a word

    def finish(self) -> None:
        """Show what was written to everybody."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        if writer.is_empty:
            writer.discard()
            return
        file, failure = writer.finish()
        if failure:
            self._stop(failure)
        for slot, row in enumerate(self._rows[: file.slots]):
            self._store.place(row, file, slot)
        for slot, pixels in writer.dropped:
            row = self._rows[slot]
            self._store.put_chw(row, pixels.reshape(self._store.shape))
        if writer.dropped and not self._reason:
            self._reason = "the disk is full"
        self._rows = array("q")
        self._part = time.monotonic()

    def explain(self, usable: int) -> None:
        """Say in one note what is kept elsewhere than on the disk, and why."""
        store = self._store
        streamed = usable - store.kept
        said = []
        if self._reason and self._folder:
            said.append(
                f"not every picture is kept for later runs in {self._folder.cache}: {self._reason}"
            )
        if streamed > 0:
            said.append(
                f"{streamed:,} of {plural(usable, 'picture')} "
                f"({size(streamed * store.slot_bytes)}) find no room and are decoded again "
                "each time"
            )
        if said:
            store.notes.append("; ".join(said))

    def _fits(self) -> bool:
        if self._folder is None or self._reason:
            return False
        if self._room is None:
            self._room = self._folder.room()
        if self._room <= 0:
            self._reason = (
                "its share of the disk is taken (to make room: opsin cache --clear pixels)"
            )
            return False
        return True

    def _write(self, entry: Entry, row: int = -1, pixels: NDArray[np.uint8] | None = None) -> bool:
        if self._folder is None or self._reason:
            return False
        try:
            if self._writer is None:
                self._writer = self._folder.writer()
            slot = self._writer.put(entry, pixels)
        except OSError as error:
            self._stop(error)
            self.finish()
            return False
        if slot is not None and self._room is not None:
            self._rows.append(row)
            self._room -= 1
        return True

    def _stop(self, error: OSError) -> None:
        if not self._reason:
            full = error.errno in FULL
            self._reason = "the disk is full" if full else error.strerror or str(error)


def _entry(record: FileRecord) -> Entry:
    settled = time.time_ns() - record.mtime_ns > SETTLED_NS
    found = asdict(record)
    for name in ("source_id", "path", "size_bytes", "mtime_ns", "sha256"):
        del found[name]
    return Entry(
        slot=None,
        crc32=0,
        path=str(record.path),
        size_bytes=record.size_bytes,
        mtime_ns=record.mtime_ns if settled else None,
        sha256=record.sha256,
        found=found,
    )
