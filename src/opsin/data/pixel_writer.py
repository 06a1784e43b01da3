"""Writing a file of the pixel store: under a temporary name, slot by slot, then shown whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from opsin.core.files import sync_folder
from opsin.data.pixel_file import (
    HEADER_BYTES,
    SUFFIX,
    Entry,
    PixelFile,
    header_of,
    read_into,
    written,
)

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a full disk says."""


class _Lines:
    """The lines of an index while they wait: packed, in a file without a name in `folder`; in
    memory from where that cannot be written any more.

    `size_bytes`: of all of them, not packed.
    """

    BLOCK = 512

    def __init__(self, folder: Path) -> None:
        self.size_bytes = 0
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._ends = [0]
        self._held: list[bytes] = []
        self._last: list[bytes] = []

    def append(self, line: bytes) -> None:
        self.size_bytes += len(line)
        self._last.append(line)
        if len(self._last) == self.BLOCK:
            self._put_aside(zlib.compress(b"".join(self._last), 1))
            self._last = []

    def blocks(self) -> Iterator[bytes]:
        """All of them, some at a time. Raises `OSError`."""
        for start, end in pairwise(self._ends):
            assert self._file
            packed = bytearray(end - start)
            read_into(self._file.fileno(), memoryview(packed), start)
            yield zlib.decompress(packed)
        yield from map(zlib.decompress, self._held)
        yield b"".join(self._last)

    def __iter__(self) -> Iterator[bytes]:
        for block in self.blocks():
            yield from block.splitlines(keepends=True)

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _put_aside(self, packed: bytes) -> None:
        try:
            if not self._held:
                self._file = self._file or _nameless(self._folder)
                _write(self._file.fileno(), memoryview(packed), self._ends[-1])
                self._ends.append(self._ends[-1] + len(packed))
                return
        except OSError:
            pass
        self._held.append(packed)


class PixelWriter:
    """A file of the pixel store in `folder` that is being written.

    By `pwrite`, never through a mapping: a full disk must be an error, and not the signal SIGBUS.
    Raises `OSError` where the file cannot be made.
    """

    def __init__(self, folder: Path, slot_bytes: int) -> None:
        self.path = folder / f"{secrets.token_hex(8)}{SUFFIX}"
        self.slot_bytes = slot_bytes
        self.slots = 0
        self.dropped: list[tuple[int, NDArray[np.uint8]]] = []
        self._lines = _Lines(folder)
        self._temporary = folder / f".{self.path.name}.{secrets.token_hex(4)}.tmp"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(self._temporary, flags, 0o666)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was put."""
        return not self._lines.size_bytes

    def put(self, entry: Entry, pixels: NDArray[np.uint8] | None = None) -> int | None:
        """Note `entry`, and write its `pixels` (uint8 C H W, contiguous), whose slot is returned.

        Raises `OSError`; what was put before stays whole.
        """
        if pixels is None:
            self._lines.append(entry.line())
            return None
        slot = self.slots
        data = pixels.reshape(-1).data
        _write(self._descriptor, data, HEADER_BYTES + slot * self.slot_bytes)
        self._lines.append(replace(entry, slot=slot, crc32=zlib.crc32(data)).line())
        self.slots += 1
        return slot

    def finish(self) -> tuple[PixelFile, OSError | None]:
        """The file, and why it could not be kept for others where it could not.

        Where a full disk leaves no room for the index, the last pictures make room for it: they
        are then in `dropped`, (slot, pixels). A file that could not be given its name can still
        be read as long as this process and its forks live.
        """
        while True:
            index_bytes = self._lines.size_bytes
            try:
                self._publish()
                failure = None
            except OSError as error:
                if error.errno in FULL and self.slots:
                    # Of the room of the slots, each that stays leaves its line's.
                    line = index_bytes / self.slots
                    fit = int(self.slots * self.slot_bytes / (self.slot_bytes + line))
                    self._drop(max(1, self.slots - fit + 1))
                    continue
                failure = error
                with contextlib.suppress(OSError):
                    self._temporary.unlink()
            file = written(self.path, self._descriptor, self.slot_bytes, self.slots, index_bytes)
            self._descriptor = -1
            self._lines.close()
            return file, failure

    def discard(self) -> None:
        """Leave nothing behind."""
        self._lines.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    def _publish(self) -> None:
        header = header_of(self.slot_bytes, self.slots, self._lines.size_bytes)
        end = HEADER_BYTES + self.slots * self.slot_bytes
        os.ftruncate(self._descriptor, end)  # less of a slot that was not whole
        digest = hashlib.sha256(header)
        for block in self._lines.blocks():
            digest.update(block)
            _write(self._descriptor, memoryview(block), end)
            end += len(block)
        _write(self._descriptor, memoryview(digest.digest()), end)
        _write(self._descriptor, memoryview(header), 0)
        os.fsync(self._descriptor)
        self._temporary.rename(self.path)
        with contextlib.suppress(OSError):  # it is there; only a power cut could undo it
            sync_folder(self.path.parent)

    def _drop(self, count: int) -> None:
        keep = max(0, self.slots - count)
        for slot in range(keep, self.slots):
            at = HEADER_BYTES + slot * self.slot_bytes
            pixels = np.empty(self.slot_bytes, np.uint8)
            read_into(self._descriptor, pixels.data, at)
            self.dropped.append((slot, pixels))
        lines = _Lines(self.path.parent)
        for line in self._lines:
            slot = json.loads(line)["slot"]
            if slot is None or slot < keep:
                lines.append(line)
        self._lines.close()
        self._lines = lines
        self.slots = keep
        os.ftruncate(self._descriptor, HEADER_BYTES + keep * self.slot_bytes)


def _nameless(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=folder, buffering=0)


def _write(descriptor: int, data: memoryview, at: int) -> None:
    while data:
        if hasattr(os, "pwrite"):
            done = os.pwrite(descriptor, data, at)
        else:  # Windows
            os.lseek(descriptor, at, os.SEEK_SET)
            done = os.write(descriptor, data)
        data, at = data[done:], at + done
