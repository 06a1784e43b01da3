"""The one place that writes files: whole or not at all, and checksummed.

A write goes to a temporary file beside the target, is flushed to the disk, then renamed over it;
a crash at any moment leaves the old file or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from opsin.core.errors import NoRoom
from opsin.core.words import size

PIECE = 1 << 16
"""About what is written at once of a file that is made piece by piece."""
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, data: bytes) -> str:
    """Write `data` atomically and return its SHA-256. Raises `NoRoom` and leaves no part behind."""
    return write_pieces(path, [data])


def write_pieces(path: Path, pieces: Iterable[bytes]) -> str:
    """`write_bytes` of what is too large to be held at once."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    digest, size_bytes, waiting = hashlib.sha256(), 0, iter(pieces)
    try:
        with temporary.open("xb") as file:
            for piece in waiting:
                size_bytes += len(piece)
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        needed = size_bytes + sum(map(len, waiting))
        raise no_room(path, error, needed=needed) from error
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return digest.hexdigest()


def write_text(path: Path, text: str) -> str:
    """`write_bytes` of UTF-8 text; file names that are not UTF-8 keep their bytes."""
    return write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_json(path: Path, value: Any) -> str:
    """`write_text` of JSON, indented, keys in the order given; NaN is refused."""
    words = json.JSONEncoder(indent=2, allow_nan=False).iterencode(value)
    return write_pieces(path, pieces_of(chain(words, ["\n"])))


def pieces_of(texts: Iterable[str]) -> Iterator[bytes]:
    """Many short texts as few long pieces of UTF-8; names that are not UTF-8 keep their bytes."""
    waiting, count = [], 0
    for text in texts:
        waiting.append(text)
        count += len(text)
        if count > PIECE:
            yield "".join(waiting).encode("utf-8", "surrogateescape")
            waiting, count = [], 0
    yield "".join(waiting).encode("utf-8", "surrogateescape")


def read_json(path: Path) -> Any:
    """The JSON in a file. Raises `ValueError` or `OSError`."""
    return json.loads(path.read_bytes())


def size_and_time(status: os.stat_result) -> tuple[int, int]:
    """Bytes, and time of change in ns; of times that 64 bits cannot hold (after 2262) the last."""
    return status.st_size, max(-(1 << 63), min(status.st_mtime_ns, (1 << 63) - 1))


def sweep(folder: Path) -> None:
    """Remove what writes left in `folder` that were killed; nobody else may be writing there."""
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink()


def sync_folder(folder: Path) -> None:
    """Make the renames inside `folder` durable, where the system lets a folder be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def no_room(path: Path, error: OSError, *, needed: int = 0) -> NoRoom:
    """The `NoRoom` that explains why `path` could not be written."""
    folder = path.parent
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = disk_free(folder)
        need = f"need {size(needed)}, " if needed else ""
        return NoRoom(
            f"disk full: {need}{size(free)} free; nothing half-written was left",
            code="disk_full",
            where=str(path),
            fix="free some space, or choose another folder with --project",
        )
    return NoRoom(
        f"cannot be written: {error.strerror or error}{_owner(folder)}",
        code="not_writable",
        where=str(path),
        fix="choose a folder that you may write to with --project or -o",
    )


def _owner(folder: Path) -> str:
    with contextlib.suppress(OSError, KeyError, NotImplementedError):
        return f" (owner {folder.owner()}, mode {folder.stat().st_mode & 0o777:o})"
    return ""


def disk_free(folder: Path) -> int:
    """Bytes free for us on the disk that holds `folder`, 0 when it cannot be told."""
    import shutil

    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free
    return 0


def check_writable(folder: Path) -> None:
    """Make `folder` and prove by a real write, fsync and rename that it takes files.

    Raises `NoRoom`.
    """
    probe = folder / f".opsin-write-test-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise no_room(folder, error) from error
    write_bytes(probe, b"opsin")
    probe.unlink()
