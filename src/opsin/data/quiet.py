"""Pillow's warnings, kept out of the caller's way for as long as one picture is being decoded."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator

_lock = threading.Lock()
_open: list[warnings.catch_warnings[None]] = []
_depth = 0


@contextlib.contextmanager
def pillow_warnings_ignored() -> Iterator[None]:
    """Ignore the warnings that Pillow's own files issue, and nobody else's.

    A warning about a strange tag says nothing that the decoded picture or its notes do not say.
    `warnings.catch_warnings` alone would do for one thread, but with two, A in, B in, A out, B out
    leaves A's filter behind for ever; so the first one in sets the filter and the last one out
    takes it back.

    >>> before = list(warnings.filters)
    >>> with pillow_warnings_ignored():
    ...     warnings.filters[0][0]
    'ignore'
    >>> warnings.filters == before
    True
    """
    global _depth
    with _lock:
        if _depth == 0:
            context = warnings.catch_warnings()
            context.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
            _open.append(context)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _open.pop().__exit__(None, None, None)
