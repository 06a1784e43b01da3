"""Pictures that lie on the device that learns from them: moved once, then only picked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from opsin.core.columns import Numbers
from opsin.core.micro_batch import out_of_memory
from opsin.core.words import size
from opsin.data.pixels import PixelStore

SHARE = 0.25
"""The most of the device's free memory that pictures may take."""
PIECE_BYTES = 64_000_000
"""Pictures that are read, and moved, at once."""


class OnDevice:
    """The pictures of `rows` of `store` on `device`, with the store's own `gather`. They are moved
    when the first of them is wanted. Where they do not fit after all, `say` is told, and they come
    from the store as ever.

    For pictures that are not augmented: augmentation works on the processor's memory.

    Raises `Undecodable` when a picture that is not stored cannot be decoded any more.
    """

    def __init__(
        self,
        store: PixelStore,
        rows: Sequence[int] | Numbers,
        device: torch.device,
        *,
        piece_bytes: int = PIECE_BYTES,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.spec = store.spec
        self.size_bytes = len(rows) * store.slot_bytes
        self.device = device
        self._store = store
        self._rows = np.asarray(rows, np.int64)
        self._at_once = max(1, piece_bytes // store.slot_bytes)
        self._say = say
        self._place = np.full(len(store), -1, np.int64)
        self._place[self._rows] = np.arange(len(rows))
        self._pixels: torch.Tensor | None = None
        self._fits = True

    def gather(self, rows: Sequence[int]) -> torch.Tensor | NDArray[np.uint8]:
        """The prepared pictures of `rows`, uint8 B C H W, in memory of their own."""
        if self._pixels is None and self._fits:
            self._move()
        if self._pixels is None:
            return self._store.gather(rows)
        places = torch.from_numpy(self._place[np.asarray(rows, np.int64)])
        return self._pixels.index_select(0, places.to(self.device))

    def _move(self) -> None:
        try:
            shape = (len(self._rows), *self._store.shape)
            pixels = torch.empty(shape, dtype=torch.uint8, device=self.device)
            for start in range(0, len(self._rows), self._at_once):
                some = self._store.gather(self._rows[start : start + self._at_once].tolist())
                pixels[start : start + len(some)].copy_(torch.from_numpy(some))
            self._pixels = pixels
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            self._fits = False
            self._say(
                f"{size(self.size_bytes)} of pictures do not fit on {self.device} any more: "
                "each batch is moved"
            )


Pictures: TypeAlias = PixelStore | OnDevice


def place(
    store: PixelStore,
    rows: Mapping[str, Sequence[int] | Numbers],
    device: torch.device,
    *,
    free_bytes: int,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, OnDevice]:
    """Of the splits `rows`, by name, those that fit into `SHARE` of `free_bytes`, first come first
    served.
    """
    left = SHARE * free_bytes
    placed = {}
    for name, some in rows.items():
        if len(some) and len(some) * store.slot_bytes <= left:
            placed[name] = OnDevice(store, some, device, say=say)
            left -= placed[name].size_bytes
    return placed
