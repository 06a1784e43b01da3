"""What a process may not do, set by itself on systems that can."""

from __future__ import annotations

import contextlib


def no_core_dump() -> None:
    """Leave no file of memory behind when this process crashes."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_memory(size_bytes: int) -> None:
    """Refuse this process more address space than `size_bytes`: allocations then raise
    `MemoryError`. Does nothing on Windows; macOS takes it and does not obey.
    """
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        size_bytes = min(size_bytes, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (size_bytes, hard))
