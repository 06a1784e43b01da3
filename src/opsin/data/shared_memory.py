"""What workers hand their batches over in, and whether it was too small."""

from __future__ import annotations

import shutil
from pathlib import Path

from opsin.core.words import size

SHARED_MEMORY = Path("/dev/shm")
PREFETCHED = 2
"""Batches that torch asks each worker for in advance."""


def tells_of_shared_memory(error: BaseException) -> bool:
    """Whether the words of `error` mean it."""
    text = str(error).lower()
    return any(word in text for word in ("bus error", "shared memory", "no space left", "(shm)"))


def shared_memory_note(error: BaseException, workers: int, batch_bytes: int) -> str:
    """Words on shared memory where it is the likely reason for losing a worker, else "".

    `batch_bytes`: of the largest batch. Likely: the error speaks of it, or what `workers` hold at
    once is more than there is.
    """
    if not SHARED_MEMORY.is_dir():
        return ""
    need = (workers * PREFETCHED + 1) * batch_bytes
    total = shutil.disk_usage(SHARED_MEMORY).total
    if not tells_of_shared_memory(error) and need <= total:
        return ""
    return f" (shared memory: {size(total)} in {SHARED_MEMORY}, need about {size(need)})"
