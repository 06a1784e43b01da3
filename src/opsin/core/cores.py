"""How many cores this process may keep busy."""

from __future__ import annotations

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = _QUOTA) -> int:
    """Cores that this process may keep busy: those it may run on, and no more than the time that
    its container is given (`quota`: the file `cpu.max` of cgroup v2); at least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, _cores_of(quota) or cores))


def _cores_of(quota: Path) -> int | None:
    """`50000 100000` is half a core, of which there is at least one; None for no limit."""
    try:
        allowed, period = quota.read_text("ascii").split()
        return max(1, int(allowed) // int(period))
    except (OSError, ValueError, ZeroDivisionError):  # "max 100000", or no such file
        return None
