"""`FileLock`: one process at a time, told by a file that names its holder.

The system frees the lock when its process ends, however that ends, so a stale one cannot be. On
POSIX it is `flock`, which children made by `fork` would share and so keep for a dead parent
(loader workers outlive a killed run for a while): each child closes its copy at once. `lockf` is
not shared, but is lost as soon as its process closes any other handle of the same file.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import socket
import time
import weakref
from pathlib import Path

_FAR = 1 << 30
"""The byte locked on Windows, where nobody can read a locked one: far behind the text."""
_TEXT_S = 0.25
"""How long a new holder may need to write its name."""


class FileLock:
    """Take it with `acquire`, give it back with `release`.

    The file stays where it is: to remove it would let two processes lock two files of one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def acquire(self, *, create: bool = True) -> bool:
        """Whether the lock is ours now; without waiting. Raises `OSError` when the file cannot
        be opened.
        """
        flags = os.O_RDWR | (os.O_CREAT if create else 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(self.path, flags, 0o644)
        try:
            if not _try_lock(handle):
                os.close(handle)
                return False
        except OSError:
            os.close(handle)
            raise
        self._handle = handle
        _held.add(self)
        with contextlib.suppress(OSError):  # a full disk; the lock is held all the same
            _write(handle, _own_name())
        return True

    def release(self) -> None:
        """Free the lock; once more does no harm."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)  # no next holder shall be taken for us
        os.close(handle)

    def holder(self) -> str:
        """Who holds it, as far as can be told: "process 4711 on host a since 10:02"."""
        until = time.monotonic() + _TEXT_S
        while True:
            with contextlib.suppress(OSError):
                text = self.path.read_text("utf-8", "replace")[:500]
                if _may_be_true(text):
                    return text
            if time.monotonic() > until:
                return "another process"
            time.sleep(_TEXT_S / 10)

    def _forget(self) -> None:
        """In a child made by `fork`: the lock is the parent's, and ends with the parent."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _try_lock(handle: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        os.lseek(handle, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, text.encode())


def _own_name() -> str:
    since = datetime.datetime.now().strftime("%H:%M")
    return f"process {os.getpid()} on host {socket.gethostname()} since {since}"


def _may_be_true(text: str) -> bool:
    """Not when it is empty or names a process that is dead: then the holder has not written yet."""
    named = re.match(r"process (\d+) on host (.+) since ", text)
    if not named or named[2] != socket.gethostname() or os.name == "nt":
        return bool(text)
    try:
        os.kill(int(named[1]), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
