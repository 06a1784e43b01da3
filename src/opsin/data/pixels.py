"""The pixel store: every prepared picture, decoded once.

In memory while it fits the budget; beyond that the store stays empty and pictures are decoded
again each time they are asked for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opsin.core.preprocess import PreprocessSpec
from opsin.core.sample import UInt8Image
from opsin.data.decode import decode_file


class PixelStore:
    """Prepared pictures, uint8 C H W, by row number.

    `paths`: one file a row. `budget_bytes`: the most memory to take.

    Raises `Undecodable` from `[]` when a picture that is not stored cannot be decoded any more.
    """

    def __init__(self, paths: list[Path], spec: PreprocessSpec, *, budget_bytes: int) -> None:
        self.paths = paths
        self.spec = spec
        tall, wide = spec.prepared_px
        shape = (len(paths), 3, tall, wide)
        self.size_bytes = int(np.prod(shape, dtype=np.int64))
        self.stored = self.size_bytes <= budget_bytes
        self._pixels = np.zeros(shape, np.uint8) if self.stored else None
        self._there = np.zeros(len(paths), bool)

    def put(self, row: int, prepared: NDArray[np.uint8]) -> None:
        """Keep a prepared picture, uint8 H W 3."""
        if self._pixels is not None:
            self._pixels[row] = prepared.transpose(2, 0, 1)
            self._there[row] = True

    def __getitem__(self, row: int) -> UInt8Image:
        """The prepared picture of a row, uint8 C H W."""
        if self._pixels is not None and self._there[row]:
            stored: UInt8Image = self._pixels[row]
            return stored
        prepared = self.spec.prepare(decode_file(self.paths[row]).image)
        return np.ascontiguousarray(prepared.transpose(2, 0, 1))

    def __len__(self) -> int:
        return len(self.paths)
