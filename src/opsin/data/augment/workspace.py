"""Memory that is used again: fresh memory must be faulted in, and is in no cache yet."""

from __future__ import annotations

import math
import threading

import torch


class Workspace(threading.local):
    """Float buffers by name, of each thread its own. What is in one is valid until the next that
    is asked for by the same name.

    >>> Workspace().floats("pixels", (2, 3)).shape
    torch.Size([2, 3])
    """

    def __init__(self) -> None:
        self._buffers: dict[str, torch.Tensor] = {}

    def floats(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """float32 of `shape`, contiguous, with anything in it."""
        count = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < count:
            # Made while a frozen backbone is asked, it could not be written to in training.
            with torch.inference_mode(False):
                buffer = self._buffers[name] = torch.empty(count, dtype=torch.float32)
        return buffer[:count].view(shape)


WORKSPACE = Workspace()
