"""A private copy of the bundle, so that what happens to the original does not reach the service.

A worker that has to be replaced loads the model anew. If the bundle was replaced or damaged by
then, the service would change its model behind everybody's back, or have none.

The copy is locked for as long as it is in use; a server that was killed leaves its copy unlocked,
and the next one to start removes it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

from opsin.bundle.load import find_bundle
from opsin.core.errors import ModelRefused, NoRoom, OpsinError
from opsin.core.files import no_room

_PREFIX = "opsin-serve-"
_LOCK = "in-use"
_YOUNG_S = 60
"""A copy younger than this is left alone: its owner may be about to lock it."""


class Snapshot:
    """A copy of the bundle at (or inside the run folder at) `source`, gone after `close`.

    Raises `WrongUsage` when there is no bundle, `NoRoom` when it cannot be copied.
    """

    def __init__(self, source: Path) -> None:
        self.source = find_bundle(source)
        folder = Path(tempfile.gettempdir())
        try:
            remove_orphans(folder)
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._folder = folder
            self._lock = (folder / _LOCK).open("wb")
            _try_lock(self._lock)
            self.path = folder / "bundle"
            # links are copied as links, for the bundle's own check to refuse them
            shutil.copytree(self.source, self.path, symlinks=True)
        except (OSError, shutil.Error) as error:
            self.close()
            raise _cannot_copy(self.source, folder, error) from error

    def explain(self, error: OpsinError) -> OpsinError:
        """The same error, naming the person's bundle where it names the copy."""
        error.where = error.where.replace(str(self.path), str(self.source))
        return error

    def close(self) -> None:
        """Remove the copy."""
        if hasattr(self, "_lock"):
            self._lock.close()
        if hasattr(self, "_folder"):
            shutil.rmtree(self._folder, ignore_errors=True)


def remove_orphans(folder: Path) -> None:
    """Remove the copies in `folder` that killed servers of this user left behind."""
    if os.name == "nt":  # there the lock would need another call, and the user has a folder alone
        return
    for copy in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody else's, or gone by now
            status = copy.lstat()
            if status.st_uid != os.getuid() or time.time() - status.st_mtime < _YOUNG_S:
                continue
            with (copy / _LOCK).open("r+b") as lock:
                if _try_lock(lock):
                    shutil.rmtree(copy, ignore_errors=True)


def _try_lock(file: BinaryIO) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _cannot_copy(source: Path, folder: Path, error: OSError) -> OpsinError:
    if isinstance(error, shutil.Error):  # a list of (from, to, why), one for each file
        return ModelRefused(
            f"cannot be read: {error.args[0][0][2]}", code="unreadable", where=str(source)
        )
    if error.filename and Path(str(error.filename)).is_relative_to(source):
        return ModelRefused(
            f"cannot be read: {error.strerror}", code="unreadable", where=str(error.filename)
        )
    refused = no_room(folder / "bundle", error)
    return NoRoom(
        refused.message, code=refused.code, where=refused.where, fix="set TMPDIR to a roomy folder"
    )
