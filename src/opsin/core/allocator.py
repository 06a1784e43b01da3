"""The memory that a step gives back and wants again: kept, where the C library lets us say so.

A step on the CPU takes and frees the same large blocks over and over. glibc returns each to the
system and gets it back as zeroed pages: 188,000 page faults a step of `cnn3` at 256 px, a batch of
32; told to keep them, none.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator, MutableMapping
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of `mallopt`'s parameters. Source: malloc.h of glibc."""
_HELD = ((_MMAP_THRESHOLD, 1 << 30), (_TRIM_THRESHOLD, 2**31 - 1))
_USUAL = ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 64 << 20))
"""What glibc's own adaptation comes to in a process that has freed a large block; the adaptation
itself cannot be switched on again. Older releases refuse more for the first."""

HELD = "memory held"

ENVIRONMENT = {"GOMP_SPINCOUNT": "10000", "THP_MEM_ALLOC_ENABLE": "1"}
"""Read once, when torch's libraries are loaded; no bit of a result depends on them.

A thread that waits for others at the end of a loop spins 300,000 times before it sleeps: ten
milliseconds and more, which on a machine with something else to do is time that the awaited thread
needs: steps of 12 ms took 160. And torch asks for large pages for its large tensors, in every
thread: with held memory 0 to 8 % off a step, for up to a tenth more memory.
"""


def prepare_environment(environment: MutableMapping[str, str] | None = None) -> bool:
    """Set what torch's libraries read when they are loaded, unless somebody has set it; False, and
    nothing changed, when torch is loaded already or the person chose a way to wait.

    >>> some = {"PATH": "/bin"}
    >>> prepare_environment(some) == ("torch" not in sys.modules)
    True
    """
    target = os.environ if environment is None else environment
    if "torch" in sys.modules or "OMP_WAIT_POLICY" in target:
        return False
    for name, value in ENVIRONMENT.items():
        target.setdefault(name, value)
    return True


def hold_memory() -> bool:
    """Freed memory stays with the process from now on; False where it cannot be held."""
    library = _glibc()
    if library is None:
        return False
    taken = [library.mallopt(name, value) for name, value in _HELD]
    if not taken[0]:
        library.mallopt(*_USUAL[0])
    return True


@contextlib.contextmanager
def held_memory() -> Iterator[str]:
    """Freed memory stays with the process while the context lasts, and goes back to the system at
    its end. Yields `memory held`, or why not. For the threads that use malloc's main arena: that of
    the caller.

    >>> with held_memory() as what:
    ...     what.startswith("memory")
    True
    """
    library = _glibc()
    if library is None or not hold_memory():
        yield f"memory not held: {platform_name()} has no glibc"
        return
    try:
        yield HELD
    finally:
        for name, value in _USUAL:
            library.mallopt(name, value)
        trim()


def trim() -> bool:
    """Give what is free back to the system, between two kinds of work: blocks kept for batches of
    one size are not used by another's. Whether there was something, where it can be told.
    """
    library = _glibc()
    return bool(library.malloc_trim(0)) if library is not None else False


def platform_name() -> str:
    """The kind of system in a word: linux (with another C library), darwin, win32."""
    return sys.platform


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library of this process where it is glibc; None for musl, macOS, Windows."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version.restype = ctypes.c_char_p
        library.gnu_get_libc_version()
        library.malloc_trim.argtypes = [ctypes.c_size_t]
        library.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
    except (OSError, AttributeError):
        return None
    return library
