"""The folder that keeps the pixels of one `PreprocessSpec`, for all runs and data sets."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

from opsin.core.errors import NoRoom
from opsin.core.files import disk_free, write_json
from opsin.core.preprocess import PreprocessSpec
from opsin.data.pixel_file import Damaged, PixelFile
from opsin.data.pixel_key import described, pixel_key
from opsin.data.pixel_writer import PixelWriter

PIXELS = "pixels"
"""The folder inside the cache folder."""
DISK_FRAC = 0.5
"""The most of a disk's free room that pixels may take, those that lie there already counted."""
MAX_FILES = 128
"""The most files that are opened. Of more, all but the largest half of that number go: what they
held is decoded again, into one."""
LEFT_AFTER_S = 3600.0
"""A temporary file that nobody wrote to for so long belongs to a writer that was killed."""

OURS = re.compile(r"[0-9a-f]{16}\.pixels")
TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.pixels\.[0-9a-f]{8}\.tmp")


class PixelFolder:
    """`cache / "pixels" / key`; nothing is made before something is written.

    `slot_bytes`: of one prepared picture. `damaged`: files that were found to be so;
    `surplus`: files that were not opened, because there are too many.
    """

    def __init__(self, cache: Path, spec: PreprocessSpec) -> None:
        self.spec = spec
        self.cache = cache
        self.path = cache / PIXELS / pixel_key(spec)
        tall, wide = spec.prepared_px
        self.slot_bytes = 3 * tall * wide
        self.damaged: list[Path] = []
        self.surplus: list[Path] = []

    def open_files(self) -> list[PixelFile]:
        """The files that are whole, largest first; those that are not are in `damaged`."""
        found = sorted(_ours(self.path, OURS), key=lambda pair: (-pair[1].st_size, pair[0]))
        paths = [path for path, _ in found]
        if len(paths) > MAX_FILES:
            paths, self.surplus = paths[: MAX_FILES // 2], paths[MAX_FILES // 2 :]
        files = []
        for path in paths:
            try:
                files.append(PixelFile(path, self.slot_bytes))
            except Damaged:
                self.damaged.append(path)
            except OSError:  # deleted meanwhile, or not for us to read
                continue
        return files

    def writer(self) -> PixelWriter:
        """A new file. Raises `OSError`."""
        self.path.mkdir(parents=True, exist_ok=True)
        legend = self.path / "spec.json"
        if not legend.exists():
            try:
                write_json(legend, described(self.spec))
            except NoRoom as error:
                raise OSError(*_cause(error)) from error
        return PixelWriter(self.path, self.slot_bytes)

    def room(self) -> int:
        """How many more pictures may be written, those of other specs counted."""
        parent = next((p for p in (self.path, *self.path.parents) if p.is_dir()), self.cache)
        taken = 0
        for folder in _folders(self.cache / PIXELS):
            taken += sum(status.st_size for _, status in _ours(folder, OURS))
        budget = int((disk_free(parent) + taken) * DISK_FRAC) - taken
        return max(0, budget) // (self.slot_bytes + 1024)

    def tidy(self) -> None:
        """Remove what is damaged, what is too much, and what killed writers left."""
        before = time.time() - LEFT_AFTER_S
        left = [p for p, status in _ours(self.path, TEMPORARY) if status.st_mtime < before]
        for path in [*self.damaged, *self.surplus, *left]:
            with contextlib.suppress(OSError):
                path.unlink()

    @staticmethod
    def touch(file: PixelFile) -> None:
        """Note that it was used now."""
        with contextlib.suppress(OSError):
            os.utime(file.path)


def _ours(folder: Path, names: re.Pattern[str]) -> list[tuple[Path, os.stat_result]]:
    """The files in `folder` that bear such a name; links are nobody's."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if names.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    found.append((Path(entry.path), entry.stat(follow_symlinks=False)))
    return found


def _folders(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []


def _cause(error: NoRoom) -> tuple[int, str]:
    cause = error.__cause__
    if isinstance(cause, OSError):
        return cause.errno or 0, cause.strerror or str(cause)
    return 0, error.message
