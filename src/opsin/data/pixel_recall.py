"""What the pixel store knows of files already: by path, size and time, else by their content."""

from __future__ import annotations

import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from opsin.core.columns import Numbers, Places
from opsin.core.files import sha256_file, size_and_time
from opsin.data.decode import MAX_FILE_BYTES, Note
from opsin.data.index import Row, Rows
from opsin.data.pixel_file import Damaged, Entry, PixelFile
from opsin.data.pixel_folder import PixelFolder
from opsin.data.pixels import PixelStore
from opsin.data.record import FileRecord, Records
from opsin.data.sniff import FORMAT_OF_SUFFIX

CHECK_BYTES = 1 << 22
"""The most that is read at once where slots are checked."""

Status = tuple[int, int]
"""(size in bytes, mtime in ns)."""


class Recall:
    """Which of `rows` the store knows, and what.

    A file whose path, size and mtime are those that were noted is trusted to be the same; a change
    that leaves all three as they were is not noticed. Another one whose size was noted is hashed.

    `records`: of the rows that are known. `renamed`: rows that were known by their hash under
    another path or time.
    """

    def __init__(self, rows: Rows, store: PixelStore, folder: PixelFolder) -> None:
        self.records = Records(rows)
        self.renamed: list[int] = []
        self._rows = rows
        self._store = store
        self._folder = folder
        self._files = folder.open_files()
        if not self._files:
            return
        self._file = np.full(len(rows), -1, np.int16)
        self._slot = np.zeros(len(rows), np.int64)
        self._crc32 = np.zeros(len(rows), np.uint32)
        # size in bytes, mtime in ns; -1 where there is no such file
        self._status = np.full((len(rows), 2), -1, np.int64)
        self._match()

    def check(self, on_row: Callable[[], None]) -> None:
        """Read each picture that was found and compare its sum; those of whole files are placed in
        the store, the others are forgotten. `on_row` is called for each row as it is read.
        """
        for number, file in enumerate(self._files):
            rows = np.flatnonzero(self._file == number)
            if not len(rows):
                continue
            rows = rows[np.argsort(self._slot[rows], kind="stable")]
            if self._whole(file, rows, on_row):
                self._folder.touch(file)
                for row in rows.tolist():
                    self._store.place(row, file, int(self._slot[row]))
            else:
                self._folder.damaged.append(file.path)
                for row in rows.tolist():
                    self.records.forget(row)
        self.renamed = [row for row in self.renamed if self.records.known[row]]

    def _whole(self, file: PixelFile, rows: Any, on_row: Callable[[], None]) -> bool:
        size = file.slot_bytes
        buffer = np.empty((max(1, CHECK_BYTES // size), size), np.uint8)
        slots = self._slot[rows]
        for begin, end in _runs(slots, len(buffer)):
            first = int(slots[begin])
            held = int(slots[end - 1]) - first + 1
            try:
                file.read_into(first, buffer[:held].reshape(-1).data)
            except OSError:
                return False
            for at in range(begin, end):
                pixels = buffer[int(slots[at]) - first]
                if zlib.crc32(pixels) != int(self._crc32[rows[at]]):
                    return False
                on_row()
        return True

    def _match(self) -> None:
        for number, path in enumerate(self._rows.paths):
            status = _regular(path)
            if status:
                self._status[number] = status
        elsewhere: dict[int, str] = {}
        root, places = str(self._rows.root / "_")[:-1], Places(self._rows.names)
        for number_of_file, entry in self._entries():
            name = entry.path.removeprefix(root).replace(os.sep, "/")
            number = places.of(name) if entry.path.startswith(root) else -1
            if number < 0 or self._status_of(number) != (entry.size_bytes, entry.mtime_ns):
                continue
            if _is_alias(entry):
                elsewhere[number] = entry.sha256
            elif not self.records.known[number]:
                self._settle(number, number_of_file, entry)
        del places
        unknown = np.flatnonzero((self._status[:, 0] >= 0) & ~self.records.known)
        if len(unknown):
            self._match_contents(unknown, elsewhere)

    def _match_contents(self, unknown: Numbers, elsewhere: dict[int, str]) -> None:
        """`elsewhere`: of rows that are known by path, the SHA-256 under which their pixels lie."""
        wanted = set(elsewhere.values())
        new = unknown[~np.isin(unknown, list(elsewhere))]
        sizes = set(np.unique(self._status[new, 0]).tolist())
        stored: dict[str, tuple[int, tuple[int, int]]] = {}
        stored_sizes: set[int] = set()
        for number_of_file, entry in self._entries():
            if not _is_alias(entry) and (entry.size_bytes in sizes or entry.sha256 in wanted):
                stored.setdefault(entry.sha256, (number_of_file, entry.where))
                stored_sizes.add(entry.size_bytes)
        for number in map(int, unknown):
            sha256 = elsewhere.get(number, "")
            if not sha256 and self._status_of(number)[0] in stored_sizes:
                sha256 = _hash(self._rows[number].path)
            if sha256 in stored:
                number_of_file, where = stored[sha256]
                self._settle(number, number_of_file, self._files[number_of_file].entry(where))
                if number not in elsewhere:
                    self.renamed.append(number)

    def _entries(self) -> Iterator[tuple[int, Entry]]:
        for number, file in enumerate(self._files):
            try:
                for entry in file.entries():
                    yield number, entry
            except (Damaged, OSError):
                self._folder.damaged.append(file.path)

    def _status_of(self, number: int) -> Status:
        size_bytes, mtime_ns = self._status[number].tolist()
        return size_bytes, mtime_ns

    def _settle(self, number: int, number_of_file: int, entry: Entry) -> None:
        self.records[number] = _record(self._rows[number], self._status_of(number), entry)
        if entry.slot is not None:
            self._file[number] = number_of_file
            self._slot[number] = entry.slot
            self._crc32[number] = entry.crc32


def _runs(slots: Any, longest: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of the stretches of sorted `slots` without a gap, each over at most `longest`
    of them.

    >>> list(_runs(np.array([3, 3, 4, 9, 10, 11]), 2))
    [(0, 3), (3, 5), (5, 6)]
    """
    begin = 0
    for at in range(1, len(slots) + 1):
        if at == len(slots) or slots[at] - slots[at - 1] > 1 or slots[at] - slots[begin] >= longest:
            yield begin, at
            begin = at


def _is_alias(entry: Entry) -> bool:
    """Whether it stands for a good picture whose pixels lie under another entry."""
    return entry.slot is None and not entry.found.get("error")


def _record(row: Row, status: Status, entry: Entry) -> FileRecord:
    found = dict(entry.found)
    format_, notes = sys.intern(found.pop("format")), found.pop("notes")
    return FileRecord(
        row.source_id,
        row.path,
        *status,
        sha256=entry.sha256,
        format=format_,
        mode=sys.intern(found.pop("mode")),
        notes=_notes(row.path, format_, notes),
        **found,
    )


def _notes(path: Path, format_: str, notes: list[dict[str, str]]) -> tuple[Note, ...]:
    """The notes as they would be under the name of `path`: one of them is about its ending."""
    code = "extension_mismatch"
    about_content = tuple(Note(**note) for note in notes if note["code"] != code)
    expected = FORMAT_OF_SUFFIX.get(path.suffix.lower(), format_)
    if not format_ or expected == format_:
        return about_content
    return (Note(code, f"looks like {format_}"), *about_content)


def _regular(path: Path) -> Status | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return size_and_time(status) if stat.S_ISREG(status.st_mode) else None


def _hash(path: Path) -> str:
    try:
        return sha256_file(path) if path.stat().st_size <= MAX_FILE_BYTES else ""
    except OSError:
        return ""
