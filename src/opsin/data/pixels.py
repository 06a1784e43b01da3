"""The pixel store: every prepared picture, decoded once.

A picture lies in a file of the cache folder (`opsin.data.pixel_file`), else in memory as far as
its budget goes; what fits nowhere is decoded again each time it is asked for. What goes where is
settled by `opsin.data.pixel_intake`, before the first picture is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opsin.core.preprocess import PreprocessSpec
from opsin.core.sample import UInt8Image
from opsin.data.decode import decode_file
from opsin.data.pixel_file import PixelFile
from opsin.data.pixel_folder import PixelFolder

_MEMORY, _NOWHERE = -1, -2


class PixelStore:
    """Prepared pictures, uint8 C H W, by row number. It survives fork and pickling.

    `paths`: one file a row. `budget_bytes`: the most memory to take. `cache`: the cache folder,
    else pictures are kept in memory only. `notes`: what the person should know of it. `shape`: of
    one picture, C H W.

    Raises `Undecodable` when a picture that is not stored cannot be decoded any more.

    >>> store = PixelStore([Path("a.png")], PreprocessSpec(size_px=(2, 2)), budget_bytes=100)
    >>> store.put(0, np.full((2, 2, 3), 7, np.uint8))
    True
    >>> store.gather([0, 0]).shape, int(store[0].max())
    ((2, 3, 2, 2), 7)
    """

    def __init__(
        self,
        paths: Sequence[Path],
        spec: PreprocessSpec,
        *,
        budget_bytes: int,
        cache: Path | None = None,
    ) -> None:
        self.paths = paths
        self.spec = spec
        self.notes: list[str] = []
        self.folder = PixelFolder(cache, spec) if cache else None
        tall, wide = spec.prepared_px
        self.shape = (3, tall, wide)
        self.slot_bytes = 3 * tall * wide
        self.size_bytes = len(paths) * self.slot_bytes
        self._memory_slots = min(len(paths), budget_bytes // self.slot_bytes)
        self._memory: NDArray[np.uint8] | None = None
        self._in_memory = 0
        self._files: list[PixelFile] = []
        self._numbers: dict[Path, int] = {}
        self._file = np.full(len(paths), _NOWHERE, np.int16)
        self._slot = np.zeros(len(paths), np.int32)

    @property
    def memory_room(self) -> int:
        """How many more pictures memory may take."""
        return self._memory_slots - self._in_memory

    def put(self, row: int, prepared: NDArray[np.uint8]) -> bool:
        """Keep a prepared picture, uint8 H W 3, in memory; False where there is no room for it."""
        return self.put_chw(row, prepared.transpose(2, 0, 1))

    def put_chw(self, row: int, pixels: NDArray[np.uint8]) -> bool:
        """`put` of uint8 C H W."""
        if self._file[row] != _MEMORY:
            if not self.memory_room:
                return False
            if self._memory is None:
                # Untouched pages of it cost nothing.
                self._memory = np.zeros((self._memory_slots, *self.shape), np.uint8)
            self._file[row], self._slot[row] = _MEMORY, self._in_memory
            self._in_memory += 1
        assert self._memory is not None
        self._memory[self._slot[row]] = pixels
        return True

    def place(self, row: int, file: PixelFile, slot: int) -> None:
        """The picture of `row` lies in `file`, which is known to be whole there."""
        number = self._numbers.get(file.path)
        if number is None:
            number = self._numbers[file.path] = len(self._files)
            self._files.append(file)
        self._file[row], self._slot[row] = number, slot

    @property
    def kept(self) -> int:
        """The number of pictures that need not be decoded again."""
        return int(np.count_nonzero(self._file != _NOWHERE))

    def __getitem__(self, row: int) -> UInt8Image:
        """The prepared picture of a row, uint8 C H W."""
        picture: UInt8Image = self.gather([row])[0]
        return picture

    def gather(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """The prepared pictures of `rows`, uint8 B C H W, in memory of their own."""
        batch = np.empty((len(rows), *self.shape), np.uint8)
        for at, row in enumerate(rows):
            number = int(self._file[row])
            if number >= 0:
                try:
                    view = batch[at].reshape(-1).data
                    self._files[number].read_into(int(self._slot[row]), view)
                    continue
                except OSError:  # deleted before a worker opened it, or the disk cannot read it
                    self._file[row] = number = _NOWHERE
            if number == _MEMORY and self._memory is not None:
                batch[at] = self._memory[self._slot[row]]
            else:
                prepared = self.spec.prepare(decode_file(self.paths[row], spec=self.spec).image)
                batch[at] = prepared.transpose(2, 0, 1)
        return batch

    def __len__(self) -> int:
        return len(self.paths)
