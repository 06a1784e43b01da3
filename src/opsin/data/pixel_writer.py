"""Writing a file of the pixel store: under a temporary name, slot by slot, then shown whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import zlib
from dataclasses import replace
from pathlib import Path

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
        self._lines: list[tuple[int | None, bytes]] = []
        self._temporary = folder / f".{self.path.name}.{secrets.token_hex(4)}.tmp"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(self._temporary, flags, 0o666)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was put."""
        return not self._lines

    def put(self, entry: Entry, pixels: NDArray[np.uint8] | None = None) -> int | None:
        """Note `entry`, and write its `pixels` (uint8 C H W, contiguous), whose slot is returned.

        Raises `OSError`; what was put before stays whole.
        """
        if pixels is None:
            self._lines.append((None, entry.line()))
            return None
        slot = self.slots
        data = pixels.reshape(-1).data
        _write(self._descriptor, data, HEADER_BYTES + slot * self.slot_bytes)
        line = replace(entry, slot=slot, crc32=zlib.crc32(data)).line()
        self._lines.append((slot, line))
        self.slots += 1
        return slot

    def finish(self) -> tuple[PixelFile, OSError | None]:
        """The file, and why it could not be kept for others where it could not.

        Where a full disk leaves no room for the index, the last pictures make room for it: they
        are then in `dropped`, (slot, pixels). A file that could not be given its name can still
        be read as long as this process and its forks live.
        """
        while True:
            lines = b"".join(line for _, line in self._lines)
            try:
                self._publish(lines)
                failure = None
            except OSError as error:
                if error.errno in FULL and self.slots:
                    self._drop(len(lines) // self.slot_bytes + 1)
                    continue
                failure = error
                with contextlib.suppress(OSError):
                    self._temporary.unlink()
            file = written(self.path, self._descriptor, self.slot_bytes, self.slots, len(lines))
            self._descriptor = -1
            return file, failure

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    def _publish(self, lines: bytes) -> None:
        header = header_of(self.slot_bytes, self.slots, len(lines))
        end = HEADER_BYTES + self.slots * self.slot_bytes
        os.ftruncate(self._descriptor, end)  # less of a slot that was not whole
        tail = lines + hashlib.sha256(header + lines).digest()
        _write(self._descriptor, memoryview(tail), end)
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
        self._lines = [(s, line) for s, line in self._lines if s is None or s < keep]
        self.slots = keep
        os.ftruncate(self._descriptor, HEADER_BYTES + keep * self.slot_bytes)


def _write(descriptor: int, data: memoryview, at: int) -> None:
    while data:
        if hasattr(os, "pwrite"):
            done = os.pwrite(descriptor, data, at)
        else:  # Windows
            os.lseek(descriptor, at, os.SEEK_SET)
            done = os.write(descriptor, data)
        data, at = data[done:], at + done
