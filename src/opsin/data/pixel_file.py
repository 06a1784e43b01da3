"""One file of the pixel store, as it is read: prepared pictures in slots of one size, and an index.

    header    64 bytes: magic, version, bytes in a slot, number of slots, bytes of the index
    slots     uint8 C H W, one after the other
    index     a line of JSON for each picture: its slot and CRC-32, the file it was made from (path,
              size, mtime, SHA-256) and what was found out of it; see `Entry`
    trailer   32 bytes: SHA-256 over header and index

A file has one writer (`opsin.data.pixel_writer`), is seen only when it is whole, and never changes
after that. So nobody has to lock anything, and a file that is deleted while it is in use goes on
being read through its descriptor.

Read by `pread`, never mapped: mapped pages count as memory of the process, and reading one that
lies behind the end of a file that somebody has cut short would kill it by SIGBUS.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opsin.data.pixel_key import FORMAT_VERSION

MAGIC = b"OPSINPX\n"
SUFFIX = ".pixels"
HEADER_BYTES = 64
TRAILER_BYTES = 32
_HEADER = struct.Struct("<8sI4xQQQ")
_CHUNK_BYTES = 1 << 20
_seeking = threading.Lock()


class Damaged(ValueError):
    """A file that is not as it was written."""


class CutShort(OSError, EOFError):
    """The file ends before what was asked for."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index says of one picture.

    `slot` is None for a file that could not be decoded, and for one whose picture lies elsewhere
    in the store, under the same `sha256`. `mtime_ns` is None where the file was so new that a
    change could have gone by unseen: such an entry is found by `sha256` alone. `found`: the other
    measured fields of a `FileRecord`. `where`: (offset, bytes) of its line.
    """

    slot: int | None
    crc32: int
    path: str
    size_bytes: int
    mtime_ns: int | None
    sha256: str
    found: dict[str, Any]
    where: tuple[int, int] = (0, 0)

    def line(self) -> bytes:
        """As it stands in the index. Names that are not UTF-8 keep their bytes."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


_FIELDS = ("slot", "crc32", "path", "size_bytes", "mtime_ns", "sha256", "found")


class PixelFile:
    """A whole file, open for reading. It survives fork; pickled, it is opened again by its path.

    `slot_bytes`: what a slot must have. Raises `Damaged` or `OSError`.
    """

    def __init__(self, path: Path, slot_bytes: int) -> None:
        self.path = path
        self.slot_bytes = slot_bytes
        self._open()
        header = self._read(HEADER_BYTES, 0)
        self.slots, self._index_bytes = _sizes(header, slot_bytes)
        self._index_at = HEADER_BYTES + self.slots * slot_bytes
        end = self._index_at + self._index_bytes
        if os.fstat(self._descriptor).st_size != end + TRAILER_BYTES:
            raise Damaged("it is shorter or longer than its header says")
        digest = hashlib.sha256(header)
        for at in range(self._index_at, end, _CHUNK_BYTES):
            digest.update(self._read(min(_CHUNK_BYTES, end - at), at))
        if digest.digest() != self._read(TRAILER_BYTES, end):
            raise Damaged("header or index is not as it was written")

    def entries(self) -> Iterator[Entry]:
        """All of the index, read in pieces. Raises `Damaged`."""
        at, end, rest = self._index_at, self._index_at + self._index_bytes, b""
        for start in range(at, end, _CHUNK_BYTES):
            *lines, rest = (rest + self._read(min(_CHUNK_BYTES, end - start), start)).split(b"\n")
            for line in lines:
                yield self._parsed(line, at)
                at += len(line) + 1
        if rest:
            raise Damaged("the index does not end with a whole line")

    def entry(self, where: tuple[int, int]) -> Entry:
        """One entry again, by its `where`."""
        return self._parsed(self._read(where[1], where[0]), where[0])

    def read_into(self, slot: int, buffer: memoryview) -> None:
        """Fill `buffer` from the start of `slot` on; a multiple of `slot_bytes`.

        Raises `OSError`, also where the file has become shorter or is gone.
        """
        read_into(self._descriptor, buffer, HEADER_BYTES + slot * self.slot_bytes)

    def _parsed(self, line: bytes, at: int) -> Entry:
        try:
            fields = json.loads(line.decode())
            entry = Entry(**fields, where=(at, len(line)))
            if entry.slot is not None and not 0 <= entry.slot < self.slots:
                raise Damaged("the index names a slot that is not there")
        except (ValueError, TypeError) as error:
            raise Damaged(f"the index cannot be read: {error}") from None
        return entry

    def _read(self, size: int, at: int) -> bytes:
        data = bytearray(size)
        try:
            read_into(self._descriptor, memoryview(data), at)
        except EOFError:
            raise Damaged("it is cut short") from None
        return bytes(data)

    def _open(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor).atexit = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": -1}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        try:
            self._open()
        except OSError:
            return  # deleted since; every read will say so
        end = self._index_at + self._index_bytes + TRAILER_BYTES
        if os.fstat(self._descriptor).st_size != end:
            self._descriptor = -1


def header_of(slot_bytes: int, slots: int, index_bytes: int) -> bytes:
    """The 64 bytes at the beginning."""
    header = _HEADER.pack(MAGIC, FORMAT_VERSION, slot_bytes, slots, index_bytes)
    return header.ljust(HEADER_BYTES, b"\0")


def written(
    path: Path, descriptor: int, slot_bytes: int, slots: int, index_bytes: int
) -> PixelFile:
    """A file that was just written, through the `descriptor` that wrote it: it is not checked, and
    it can be read even where it could not be given its name.
    """
    file = PixelFile.__new__(PixelFile)
    file.path, file.slot_bytes, file.slots = path, slot_bytes, slots
    file._index_bytes = index_bytes
    file._index_at = HEADER_BYTES + slots * slot_bytes
    file._open(descriptor)
    return file


def slots_in(path: Path) -> int:
    """The number of pictures by the header alone; 0 where that cannot be read."""
    try:
        with path.open("rb") as file:
            magic, _, _, slots, _ = _HEADER.unpack(file.read(_HEADER.size))
    except (OSError, struct.error):
        return 0
    return int(slots) if magic == MAGIC else 0


def _sizes(header: bytes, slot_bytes: int) -> tuple[int, int]:
    magic, number, size, slots, index_bytes = _HEADER.unpack(header[: _HEADER.size])
    if magic != MAGIC:
        raise Damaged("it does not begin as a file of the pixel store")
    if number != FORMAT_VERSION:
        raise Damaged(f"it is of version {number}, not {FORMAT_VERSION}")
    if size != slot_bytes:
        raise Damaged("its slots have another size")
    return slots, index_bytes


def read_into(descriptor: int, buffer: memoryview, at: int) -> None:
    """Fill `buffer` from the file, from `at` on. Raises `OSError`; `CutShort` where it ends."""
    if descriptor < 0:
        raise FileNotFoundError(errno.ENOENT, "the file is gone")
    while buffer:
        if hasattr(os, "preadv"):
            got = os.preadv(descriptor, [buffer], at)
        else:  # Windows
            with _seeking:
                os.lseek(descriptor, at, os.SEEK_SET)
                data = os.read(descriptor, len(buffer))
            got = len(data)
            buffer[:got] = data
        if not got:
            raise CutShort(errno.EIO, "the file is cut short")
        buffer, at = buffer[got:], at + got
