"""A folder for work that is not done yet: locked while in use, and never left for good."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from opsin.core.lock import FileLock

_IN_USE = "in-use"
_YOUNG_S = 60
"""A folder younger than this is left alone: its owner may be about to lock it."""


class HeldFolder:
    """A new folder inside `parent`, gone after `close`. Raises `OSError`.

    What killed processes of this user left (same `prefix` and `suffix`, and not locked) is
    removed when the next one is made.
    """

    def __init__(self, parent: Path, *, prefix: str, suffix: str = "") -> None:
        _remove_left(parent, prefix, suffix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=parent))
        self._lock = FileLock(self.path / _IN_USE)
        try:
            self._lock.acquire()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the folder; once more does no harm."""
        self._lock.release()
        shutil.rmtree(self.path, ignore_errors=True)


def _remove_left(parent: Path, prefix: str, suffix: str) -> None:
    names = [entry.name for entry in parent.iterdir()]
    for name in names:
        if name.startswith(prefix) and name.endswith(suffix):
            with contextlib.suppress(OSError):  # somebody else's, or gone by now
                _remove_if_left(parent / name)


def _remove_if_left(folder: Path) -> None:
    status = folder.lstat()
    mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    if not mine or time.time() - status.st_mtime < _YOUNG_S:
        return
    lock = FileLock(folder / _IN_USE)
    if lock.acquire(create=False):
        lock.release()  # nobody takes it again but to remove the folder as well
        shutil.rmtree(folder, ignore_errors=True)
